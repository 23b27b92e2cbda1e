/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_unpack() to a bundle: the order of things. Find the image, make the bundle, apply the layers, write
 * config.json last, so that a bundle with a config.json is a whole one. On an error what was made is removed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/path.h"
#include "base/remove.h"
#include "oci/image/config_image.h"
#include "oci/image/image.h"
#include "oci/image/layer_unpack.h"
#include "oci/image/unpack_internal.h"

struct bundle {
	int parent;              /* the directory that the bundle is in */
	char name[NAME_MAX + 1]; /* the bundle's in there, where we made it; else "" */
	int dir;
	int rootfs;
	bool made_rootfs;
};

/* ---- the bundle's directories ------------------------------------------------------------- */

static int check_empty(int dir, struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	if (copy < 0)
		return error_errno(err, errno, "open");
	stream = fdopendir(copy);
	if (!stream) {
		close(copy);
		return error_errno(err, ENOMEM, "open");
	}
	while (errno = 0, (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return error_set(err, EEXIST, "the directory is not empty");
	return errno ? error_errno(err, errno, "read") : 0;
}

int unpack_open_parent(const char *path, char *name, struct error *err)
{
	size_t len = strlen(path), start;
	char parent[PATH_MAX];

	while (len > 1 && path[len - 1] == '/')
		len--;
	start = len;
	while (start && path[start - 1] != '/')
		start--;
	if (len - start > NAME_MAX)
		return error_errno(err, ENAMETOOLONG, "make");
	memcpy(name, path + start, len - start);
	name[len - start] = '\0';
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		name[0] = '\0';
	if (start >= sizeof(parent))
		return error_errno(err, ENAMETOOLONG, "make");
	memcpy(parent, start ? path : ".", start ? start : 1);
	parent[start ? start : 1] = '\0';
	return path_open_dir(parent, true, err);
}

int unpack_check_ours(int dir, struct error *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return error_errno(err, errno, "stat");
	if (st.st_uid != geteuid())
		return error_set(err, EPERM, "somebody replaced the directory");
	return 0;
}

int unpack_make_rootfs(int dir, bool *made, struct error *err)
{
	_cleanup_close_ int rootfs = -EBADF;

	if (mkdirat(dir, "rootfs", 0755) < 0)
		return error_errno(err, errno, "make `rootfs`");
	*made = true;
	rootfs = openat(dir, "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rootfs < 0)
		return error_errno(err, errno, "open `rootfs`");
	if (unpack_check_ours(rootfs, err) < 0)
		return -err->code;
	if (fchmod(rootfs, 0755) < 0)
		return error_errno(err, errno, "set the mode of `rootfs`");
	return take_fd(&rootfs);
}

/*
 * 0700, as the image may hold set-user-id programs and device nodes, and no other user of the host
 * has any business with them. An empty directory that is there keeps its mode: its owner chose it.
 */
static int bundle_make(struct bundle *b, const char *path, struct error *err)
{
	char name[NAME_MAX + 1] = "";

	if (!*path)
		return error_set(err, EINVAL, "it has no name");
	b->parent = unpack_open_parent(path, name, err);
	if (b->parent < 0)
		return b->parent;
	if (*name && mkdirat(b->parent, name, 0700) == 0)
		strcpy(b->name, name);
	else if (*name && errno != EEXIST)
		return error_errno(err, errno, "make");
	b->dir = *b->name ? openat(b->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
			  : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->dir < 0)
		return error_errno(err, errno, "open");
	if ((*b->name && unpack_check_ours(b->dir, err) < 0) || check_empty(b->dir, err) < 0)
		return -err->code;
	b->rootfs = unpack_make_rootfs(b->dir, &b->made_rootfs, err);
	return b->rootfs < 0 ? b->rootfs : 0;
}

static void bundle_remove(struct bundle *b, struct error *err)
{
	struct error failed = { 0 };

	if (b->made_rootfs) {
		unlinkat(b->dir, "config.json", 0);
		path_remove_tree(b->dir, "rootfs", &failed);
	}
	if (!failed.code && *b->name && unlinkat(b->parent, b->name, AT_REMOVEDIR) < 0)
		error_errno(&failed, errno, "remove the bundle");
	if (failed.code)
		error_wrap(err, "(and %s)", failed.text);
}

static void bundle_close(struct bundle *b)
{
	close_fd(&b->rootfs);
	close_fd(&b->dir);
	close_fd(&b->parent);
}

/* ---- the layers --------------------------------------------------------------------------- */

struct waiting {
	const struct image_unpack_options *options;
	char what[64];
};

static void report_progress(void *data, uint64_t done, uint64_t total)
{
	const struct waiting *w = data;

	if (w->options->progress)
		w->options->progress(w->options->progress_data, w->what, (unsigned long)done,
				     (unsigned long)total);
}

static bool is_interrupted(void *data)
{
	const struct waiting *w = data;

	return w->options->interrupted && w->options->interrupted(w->options->interrupted_data);
}

void unpack_target_init(struct layer_target *target, int rootfs,
			const struct image_unpack_options *options)
{
	layer_target_init(target, rootfs, options->rootless);
	if (options->max_bytes)
		target->max_bytes = options->max_bytes;
	if (options->max_entries)
		target->max_entries = options->max_entries;
}

int unpack_layers(const struct image_unpack_options *options, struct image_source *source,
		  const struct image_manifest *manifest, struct layer_target *target,
		  struct error *err)
{
	struct waiting waiting = { .options = options };
	const struct layer_stream_hooks hooks = { report_progress, is_interrupted, &waiting };
	int r = 0;

	for (size_t i = 0; i < manifest->layer_count && r >= 0; i++) {
		snprintf(waiting.what, sizeof(waiting.what), "layer %zu/%zu", i + 1,
			 manifest->layer_count);
		r = layer_unpack(source, &manifest->layers[i], target, &hooks, err);
		if (r < 0 && err->code != EINTR)
			error_wrap(err, "%s", waiting.what);
	}
	return r;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static int write_config(const struct image_unpack_options *options,
			const struct image_manifest *manifest, const struct bundle *b,
			struct arena *arena, struct error *err)
{
	struct oci_config *config;
	int r = image_config_convert(manifest->config, b->rootfs,
				     options->rootless || options->uids, arena, &config, err);

	if (r < 0)
		return r;
	if (options->uids) {
		config->linux_->uid_mappings = *options->uids;
		config->linux_->gid_mappings = *options->gids;
	}
	return image_config_write(config, b->dir, 0644, err);
}

static int fill_bundle(const struct image_unpack_options *options, struct image_source *source,
		       const struct image_manifest *manifest, struct bundle *b, struct arena *arena,
		       struct error *err)
{
	struct layer_target target;
	int r = bundle_make(b, options->bundle, err);

	if (r < 0)
		return error_wrap(err, "bundle `%s`", options->bundle);
	unpack_target_init(&target, b->rootfs, options);
	r = unpack_layers(options, source, manifest, &target, err);
	if (r >= 0)
		r = write_config(options, manifest, b, arena, err);
	/* Last: without privileges /etc may be out of reach afterwards. */
	if (r >= 0)
		r = layer_target_finish(&target, err);
	layer_target_free(&target);
	return r;
}

int image_unpack_manifest(const struct image_unpack_options *options, struct image_source *source,
			  const struct image_manifest *manifest, struct arena *arena,
			  struct error *err)
{
	struct bundle b = { .parent = -EBADF, .dir = -EBADF, .rootfs = -EBADF };
	struct error local = { 0 };
	int r;

	if (!err)
		err = &local;
	if (options->format == IMAGE_FORMAT_EROFS)
		return unpack_erofs(options, source, manifest, err);
	r = fill_bundle(options, source, manifest, &b, arena, err);
	if (r < 0)
		bundle_remove(&b, err);
	bundle_close(&b);
	return r < 0 ? -err->code : 0;
}

int image_unpack(const struct image_unpack_options *options, struct error *err)
{
	_cleanup_image_source_ struct image_source *source = NULL;
	const struct image_platform platform = image_platform_host();
	const struct image_source_options source_options = { options->plain_http,
							     options->interrupted,
							     options->interrupted_data };
	const char *tag;
	_cleanup_arena_ struct arena arena;
	struct image_manifest manifest;
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	r = image_source_open(options->source, &source_options, &source, &tag, err);
	if (r < 0)
		return r;
	r = image_manifest_find(source, tag, &platform, &arena, &manifest, err);
	if (r < 0)
		return error_wrap(err, "image `%s`", options->source);
	return image_unpack_manifest(options, source, &manifest, &arena, err);
}
