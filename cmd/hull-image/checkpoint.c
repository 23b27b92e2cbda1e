/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `hull run --image` has changed of its image, to a checkpoint and back: a layer over those of the image.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/bundle_reply.h"
#include "base/file.h"
#include "base/message.h"
#include "base/number.h"
#include "cmd/hull-image/command.h"
#include "oci/config.h"
#include "oci/image/layer.h"
#include "oci/image/layer_pack.h"
#include "sandbox/manifest.h"

#define BLOCK ((size_t)256 * 1024)

/* ---- to ------------------------------------------------------------------------------------------------ */

int run_pack(int argc, char **argv)
{
	struct error err = { 0 };
	uint64_t fds[3];
	int r;

	for (int i = 0; i < 3; i++)
		if (argc != 4 || !parse_u64(argv[i + 1], INT_MAX, &fds[i])) {
			fprintf(stderr, "hull-image pack is called by hull, and not so\n");
			return 2;
		}
	r = layer_pack((int)fds[1], (int)fds[2], &err);
	if (r < 0)
		complete_error(&err);
	r = message_send((int)fds[0], r < 0 ? BUNDLE_FAILED : BUNDLE_PACKED, &err,
			 r < 0 ? sizeof(err) : 0, NULL, 0, NULL);
	return r < 0;
}

/* ---- from ---------------------------------------------------------------------------------------------- */

struct reading {
	int fd;
	char block[BLOCK];
};

static ssize_t read_block(void *data, const char **block, struct error *err)
{
	struct reading *reading = data;
	ssize_t n;

	do {
		n = read(reading->fd, reading->block, sizeof(reading->block));
	} while (n < 0 && errno == EINTR);
	*block = reading->block;
	return n < 0 ? error_errno(err, errno, "read `" MANIFEST_LAYER "`") : n;
}

/* Onto the mounted overlay, so that the directory of changes becomes what it was, by overlayfs itself. */
static int apply_changes(int checkpoint, int tree, struct error *err)
{
	struct reading *reading = malloc(sizeof(*reading));
	struct layer_target target;
	int r;

	if (!reading)
		return error_errno(err, ENOMEM, "unpack `" MANIFEST_LAYER "`");
	reading->fd = openat(checkpoint, MANIFEST_LAYER, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (reading->fd < 0) {
		r = error_errno(err, errno, "open `" MANIFEST_LAYER "`");
	} else {
		layer_target_init(&target, tree, false);
		r = layer_apply(&target, read_block, reading, err);
		if (r >= 0)
			r = layer_target_finish(&target, err);
		layer_target_free(&target);
	}
	close_fd(&reading->fd);
	free(reading);
	return r;
}

int restore_workload(int checkpoint, const struct image_store_workload *workload, struct error *err)
{
	_cleanup_free_ char *json = NULL;
	ssize_t len = file_read(checkpoint, MANIFEST_CONFIG, OCI_CONFIG_MAX, &json, err);
	int r = len < 0 ? (int)len : apply_changes(checkpoint, workload->tree, err);

	return r < 0 ? r
		     : file_replace(workload->bundle, "config.json", json, (size_t)len, 0600, err);
}
