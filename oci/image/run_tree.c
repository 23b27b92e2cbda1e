/* SPDX-License-Identifier: Apache-2.0 */
/* What a container's files need to have before it runs; see run.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/path.h"
#include "oci/image/run.h"

#define ETC_FILE_MAX ((size_t)1 << 20) /* bytes of the host's /etc/hosts or /etc/resolv.conf */

/* What the image has there may be a device, a FIFO, or a link to one: only a regular file is written. */
static int write_file(int tree, const char *path, const char *data, size_t len, struct error *err)
{
	_cleanup_close_ int found = path_make_file_in_root(tree, path, 0644, err);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	/* A directory, or a place where none can be made: the image wants it so. */
	if (found < 0)
		return err->code == ENOSPC || err->code == EDQUOT ? found : 0;
	if (fstat(found, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	fd = open(path_of_fd(found).s, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_errno(err, errno, "write `%s` of the container", path);
	r = file_write_all(fd, data, len);
	return r < 0 ? error_errno(err, -r, "write `%s` of the container", path) : 0;
}

/* The host's file; empty where there is none. */
static int read_host_file(const char *path, struct strbuf *out, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct error why = { 0 };
	ssize_t len = file_read(AT_FDCWD, path, ETC_FILE_MAX, &text, &why);

	if (len < 0 && len != -ENOENT)
		return error_set(err, why.code, "%s", why.text);
	if (len > 0)
		strbuf_add(out, text, (size_t)len);
	return 0;
}

static int write_hosts(const struct image_run *run, const struct oci_config *config, int tree,
		       struct error *err)
{
	_cleanup_strbuf_ struct strbuf hosts = { 0 };
	int r = 0;

	if (image_run_on_host_network(run))
		r = read_host_file("/etc/hosts", &hosts, err);
	if (r < 0)
		return r;
	if (!hosts.len)
		strbuf_adds(&hosts, "127.0.0.1\tlocalhost\n"
				    "::1\tlocalhost ip6-localhost ip6-loopback\n");
	strbuf_addf(&hosts, "%s127.0.1.1\t%s\n",
		    hosts.data && hosts.data[hosts.len - 1] != '\n' ? "\n" : "", config->hostname);
	if (strbuf_failed(&hosts))
		return error_errno(err, ENOMEM, "write the container's files");
	return write_file(tree, "/etc/hosts", hosts.data, hosts.len, err);
}

/* Programs take for granted that their volumes are there. */
static void make_volumes(const struct json_value *image, int tree)
{
	const struct json_value *config = json_get(image, "config");
	const struct json_value *volumes =
		config && config->type == JSON_OBJECT ? json_get(config, "Volumes") : NULL;

	for (const struct json_value *v = volumes && volumes->type == JSON_OBJECT ? volumes->child
										  : NULL;
	     v; v = v->next) {
		int fd = path_make_dir_in_root(tree, v->key, 0755, NULL);

		close_fd(&fd);
	}
}

int image_run_fill_tree(const struct image_run *run, const struct json_value *image,
			const struct oci_config *config, int tree, struct error *err)
{
	_cleanup_strbuf_ struct strbuf name = { 0 }, resolv = { 0 };
	int r;

	make_volumes(image, tree);
	strbuf_addf(&name, "%s\n", config->hostname);
	if (strbuf_failed(&name))
		return error_errno(err, ENOMEM, "write the container's files");
	r = write_file(tree, "/etc/hostname", name.data, name.len, err);
	if (r >= 0)
		r = write_hosts(run, config, tree, err);
	if (r < 0 || !image_run_on_host_network(run))
		return r;
	r = read_host_file("/etc/resolv.conf", &resolv, err);
	if (r < 0 || !resolv.len)
		return r;
	return strbuf_failed(&resolv)
		       ? error_errno(err, ENOMEM, "write the container's files")
		       : write_file(tree, "/etc/resolv.conf", resolv.data, resolv.len, err);
}
