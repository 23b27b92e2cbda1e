/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into certs.d; see registry_certs.h. */
#include "oci/image/registry_certs.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"

#define CERT_MAX        ((size_t)1 << 20)
#define AUTHORITIES_MAX ((size_t)8 << 20)

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return len > end && !strcmp(name + len - end, suffix);
}

static int add_authority(int dir, const char *name, struct registry_certs *certs, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(dir, name, CERT_MAX, &text, err);

	if (len < 0)
		return (int)len;
	strbuf_add(&certs->authorities, text, (size_t)len);
	strbuf_addc(&certs->authorities, '\n');
	if (strbuf_failed(&certs->authorities) || certs->authorities.len > AUTHORITIES_MAX)
		return error_set(err, EFBIG, "too many certificates");
	return 0;
}

/* The first pair by name, so that it does not depend on the directory's order. */
static int add_client(const char *path, int dir, const char *name, struct registry_certs *certs,
		      struct error *err)
{
	size_t stem = strlen(name) - strlen(".cert");
	char cert[PATH_MAX], key[PATH_MAX];

	if (snprintf(cert, sizeof(cert), "%s/%s", path, name) >= (int)sizeof(cert) ||
	    snprintf(key, sizeof(key), "%s/%.*s.key", path, (int)stem, name) >= (int)sizeof(key))
		return error_errno(err, ENAMETOOLONG, "`%s`", name);
	if (faccessat(dir, key + strlen(path) + 1, R_OK, AT_EACCESS) < 0)
		return error_errno(err, errno, "the key of `%s`", name);
	if (*certs->cert && strcmp(certs->cert, cert) < 0)
		return 0;
	strcpy(certs->cert, cert);
	strcpy(certs->key, key);
	return 0;
}

static int load_dir(const char *path, DIR *dir, struct registry_certs *certs, struct error *err)
{
	struct dirent *entry;
	int r = 0;

	while (r >= 0 && (errno = 0, entry = readdir(dir))) {
		if (has_suffix(entry->d_name, ".crt"))
			r = add_authority(dirfd(dir), entry->d_name, certs, err);
		else if (has_suffix(entry->d_name, ".cert"))
			r = add_client(path, dirfd(dir), entry->d_name, certs, err);
	}
	if (r >= 0 && errno)
		r = error_errno(err, errno, "read");
	return r < 0 ? error_wrap(err, "certificates in `%s`", path) : 1;
}

/* 1: the directory is there. */
static int try_dir(const char *base, const char *rest, const char *host,
		   struct registry_certs *certs, struct error *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX];

	if (!base ||
	    snprintf(path, sizeof(path), "%s%s/certs.d/%s", base, rest, host) >= (int)sizeof(path))
		return 0;
	dir = opendir(path);
	if (dir)
		return load_dir(path, dir, certs, err);
	if (errno == ENOENT || errno == ENOTDIR)
		return 0;
	return error_errno(err, errno, "open `%s`", path);
}

int registry_certs_load(const char *host, struct registry_certs *certs, struct error *err)
{
	int r;

	memset(certs, 0, sizeof(*certs));
	/* A host of a server's making must not lead out of the directory. */
	if (strchr(host, '/') || *host == '.')
		return error_set(err, EINVAL, "the host of a URL is not one");
	r = try_dir(getenv("HOME"), "/.config/containers", host, certs, err);
	if (!r)
		r = try_dir("/etc", "/containers", host, certs, err);
	if (!r)
		r = try_dir("/etc", "/docker", host, certs, err);
	if (r < 0)
		registry_certs_free(certs);
	return r < 0 ? r : 0;
}

void registry_certs_free(struct registry_certs *certs)
{
	strbuf_free(&certs->authorities);
}
