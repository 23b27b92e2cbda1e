/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idmapped bind mounts. The kernel takes a mapping only as a user namespace; for one of its own a mount gets a namespace that
 * nobody is in.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/number.h"
#include "base/syscalls.h"
#include "namespaces/mount_options.h"
#include "namespaces/plan.h"
#include "namespaces/rootfs.h"

/* ---- idmap=uids=…;gids=… ---------------------------------------------------------------------- */

/* An id of the container's as the host numbers it. The range must lie in one entry: crun goes wrong silently otherwise. */
static bool translate(const struct oci_id_mappings *maps, struct oci_id_mapping *m)
{
	for (size_t i = 0; maps && i < maps->len; i++) {
		const struct oci_id_mapping *c = &maps->items[i];
		uint32_t offset = m->host_id - c->container_id;

		if (m->host_id < c->container_id || offset >= c->size)
			continue;
		if (m->size > c->size - offset)
			return false;
		m->host_id = c->host_id + offset;
		return true;
	}
	return false;
}

/* "FS-HOST-SIZE" of len characters. */
static bool parse_triplet(const char *text, size_t len, struct oci_id_mapping *m)
{
	uint32_t *fields[] = { &m->container_id, &m->host_id, &m->size };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const char *dash = memchr(text, '-', len);
		size_t n = dash ? (size_t)(dash - text) : len;
		uint64_t value;

		if ((i < 2) != (dash != NULL) || !parse_u64_n(text, n, UINT32_MAX - 1, &value))
			return false;
		*fields[i] = (uint32_t)value;
		text += n + (dash != NULL);
		len -= n + (dash != NULL);
	}
	return m->size > 0;
}

/* "[@]FS-HOST-SIZE#[@]…" of len characters. */
static int parse_mappings(const char *text, size_t len, const struct oci_id_mappings *container,
			  struct arena *arena, struct oci_id_mappings *out, struct error *err)
{
	size_t count = 1;

	if (out->len)
		return error_set(err, EINVAL, "`idmap=`: uids or gids twice");
	for (size_t i = 0; i < len; i++)
		count += text[i] == '#';
	out->items = arena_array(arena, count, sizeof(*out->items));
	if (!out->items)
		return error_errno(err, ENOMEM, "`idmap=`");
	for (size_t i = 0; i < count; i++) {
		const char *end = memchr(text, '#', len);
		size_t n = end ? (size_t)(end - text) : len;
		bool relative = n > 0 && text[0] == '@';
		struct oci_id_mapping *m = &out->items[out->len];

		if (!parse_triplet(text + relative, n - relative, m))
			return error_set(err, EINVAL,
					 "`idmap=`: `%.*s` is not FS-HOST-SIZE, as 0-100000-65536",
					 (int)(n < 64 ? n : 64), text);
		if (relative && !translate(container, m))
			return error_set(
				err, EINVAL,
				"`idmap=`: `%.*s` is in no one entry of the container's id mappings",
				(int)(n < 64 ? n : 64), text);
		out->len++;
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
	return 0;
}

int mount_parse_idmap(const char *spec, const struct oci_linux *linux_, struct arena *arena,
		      struct oci_id_mappings *uids, struct oci_id_mappings *gids, struct error *err)
{
	*uids = *gids = (struct oci_id_mappings){ .len = 0 };
	for (;;) {
		size_t len = strcspn(spec, ";");
		int r;

		if (!strncmp(spec, "uids=", 5))
			r = parse_mappings(spec + 5, len - 5, linux_ ? &linux_->uid_mappings : NULL,
					   arena, uids, err);
		else if (!strncmp(spec, "gids=", 5))
			r = parse_mappings(spec + 5, len - 5, linux_ ? &linux_->gid_mappings : NULL,
					   arena, gids, err);
		else
			r = error_set(err, EINVAL,
				      "`idmap=`: only uids= and gids= can follow, not `%.*s`",
				      (int)(len < 64 ? len : 64), spec);
		if (r < 0)
			return r;
		if (!spec[len])
			break;
		spec += len + 1;
	}
	if (!uids->len || !gids->len)
		return error_set(err, EINVAL, "`idmap=`: both uids= and gids= are needed");
	return 0;
}

/* ---- the namespace ------------------------------------------------------------------------------- */

/* The namespace whose mapping the mount shall have. */
static int choose_namespace(const struct rootfs *rootfs, size_t index,
			    const struct mount_options *opts, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	const struct oci_linux *l = rootfs->config->linux_;
	struct arena arena = { 0 };
	struct oci_id_mappings uids, gids;
	int fd;

	if (m->uid_mappings.len)
		return ns_open_user_namespace(&m->uid_mappings, &m->gid_mappings, err);
	if (opts->idmap_spec) {
		fd = mount_parse_idmap(opts->idmap_spec, l, &arena, &uids, &gids, err);
		if (fd == 0)
			fd = ns_open_user_namespace(&uids, &gids, err);
		arena_free(&arena);
		return fd;
	}
	if (rootfs->user_ns >= 0) {
		fd = fcntl(rootfs->user_ns, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? error_errno(err, errno, "the container's user namespace") : fd;
	}
	if (l && rootfs->user_namespace)
		return ns_open_user_namespace(&l->uid_mappings, &l->gid_mappings, err);
	return error_set(err, EINVAL,
			 "`idmap` needs uidMappings and gidMappings, of the mount or of a user "
			 "namespace of the container's");
}

/* ---- applying it -------------------------------------------------------------------------------- */

/* The type of the file system at path, from the mount table: for a message. */
static void describe_fs(int dir, const char *path, char *type, size_t size)
{
	_cleanup_fclose_ FILE *table = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	struct statx stx;
	size_t cap = 0;

	snprintf(type, size, "unknown");
	if (!table || statx(dir, path, 0, STATX_MNT_ID, &stx) < 0 || !(stx.stx_mask & STATX_MNT_ID))
		return;
	while (getline(&line, &cap, table) > 0) {
		char *rest = strstr(line, " - ");

		if (strtoull(line, NULL, 10) != stx.stx_mnt_id || !rest)
			continue;
		rest += 3;
		snprintf(type, size, "%.*s", (int)strcspn(rest, " \n"), rest);
		return;
	}
}

static int refused(const struct rootfs *rootfs, size_t index, int code, struct error *err)
{
	const struct oci_mount *m = &rootfs->config->mounts.items[index];
	const char *why = "";
	char type[32];

	describe_fs(rootfs->bundle, m->source, type, sizeof(type));
	if (code == EINVAL)
		why = " (this kernel cannot map the ids of this file system, or they are mapped already: "
		      "use a directory on ext4, xfs, btrfs or tmpfs, or leave out idmap and chown the files)";
	else if (code == EPERM)
		why = " (it takes CAP_SYS_ADMIN in the user namespace that the file system was mounted in, "
		      "which an ordinary user lacks: leave out idmap, or run as root)";
	return error_errno(err, code, "/mounts/%zu: idmap `%s` (file system %s) for `%s`%s", index,
			   m->source, type, m->destination, why);
}

int mount_set_idmap(const struct rootfs *rootfs, size_t index, const struct mount_options *opts,
		    int tree, struct error *err)
{
	_cleanup_close_ int ns = -EBADF;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	unsigned deep = opts->idmap == IDMAP_RECURSIVE ? AT_RECURSIVE : 0;

	/* Here ids are the container's already, and those of mappings are the host's. */
	if (rootfs->deferred)
		return refused(rootfs, index, EPERM, err);
	ns = choose_namespace(rootfs, index, opts, err);
	if (ns < 0)
		return error_wrap(err, "/mounts/%zu", index);
	attr.userns_fd = (unsigned)ns;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | deep, &attr, sizeof(attr)) < 0)
		return refused(rootfs, index, errno, err);
	return 0;
}
