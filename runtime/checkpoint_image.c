/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of what `hull run --image` runs: the image itself stays in its store, and the checkpoint has its name and digest, and
 * as a layer what the workload changed. The bundle is in the store, in the directory of this use: beside config.json there are
 * `record`, which says what image it is (oci/image/store_use.c), and the directory of changes.
 */
#include <fcntl.h>

#include "base/file.h"
#include "base/path.h"
#include "oci/json.h"
#include "runtime/checkpoint.h"
#include "sandbox/layer.h"

#define RECORD     "record"
#define RECORD_MAX ((size_t)1 << 20)

static int parse_record(const struct json_value *record, struct arena *arena,
			struct manifest_image *image, struct error *err)
{
	const char *name = json_get_string(record, "image");
	const struct json_value *manifest = json_get(record, "manifest");
	const char *digest = manifest && manifest->type == JSON_OBJECT
				     ? json_get_string(manifest, "digest")
				     : NULL;

	if (!name || !digest)
		return error_set(err, EINVAL, "`" RECORD "` does not say what image it is");
	if (json_get(record, "firstId"))
		return error_set(err, ENOTSUP,
				 "a container with ids of its own (--userns auto) cannot be "
				 "checkpointed: others may have them when it is restored");
	image->name = arena_strdup(arena, name);
	image->digest = arena_strdup(arena, digest);
	return image->name && image->digest ? 0 : error_errno(err, ENOMEM, "`" RECORD "`");
}

int checkpoint_find_image(const char *bundle, struct arena *arena, struct manifest_image *image,
			  struct error *err)
{
	_cleanup_close_ int dir = path_open_dir(bundle, false, err);
	_cleanup_free_ char *text = NULL;
	struct json_value *record;
	ssize_t len;
	int r;

	if (dir < 0)
		return dir;
	len = file_read(dir, RECORD, RECORD_MAX, &text, err);
	if (len < 0)
		return (int)len;
	r = json_parse(text, (size_t)len, arena, &record, err);
	if (r == 0 && record->type != JSON_OBJECT)
		r = error_set(err, EINVAL, "`" RECORD "` is no object");
	return r < 0 ? r : parse_record(record, arena, image, err);
}

int checkpoint_add_changes(const char *bundle, int images, struct error *err)
{
	_cleanup_close_ int dir = path_open_dir(bundle, false, err);
	_cleanup_close_ int changes = -EBADF, out = -EBADF;
	int r;

	if (dir < 0)
		return dir;
	changes = openat(dir, LAYER_CHANGES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (changes < 0)
		return error_errno(err, errno, "open `%s/" LAYER_CHANGES "`", bundle);
	out = openat(images, MANIFEST_LAYER, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		     0600);
	if (out < 0)
		return error_errno(err, errno, "make `" MANIFEST_LAYER "`");
	r = layer_save(changes, out, err);
	return r < 0 ? error_wrap(err, "what was changed of the image") : 0;
}
