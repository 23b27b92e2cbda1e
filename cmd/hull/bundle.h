/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images are the business of another program, hull-image, which this one executes: it makes a bundle for one container, and hands over
 * the root file system as a mount that is attached nowhere, so that nothing of it is to be seen on the host, and it ends with its last
 * user.
 */
#ifndef HULL_CMD_BUNDLE_H
#define HULL_CMD_BUNDLE_H

#include <limits.h>

#include "cmd/hull/command.h"

struct bundle_order {
	const char *id, *image;
	const struct option_passed *passed; /* NULL: none */
	bool tty;
	char **command; /* in the place of the image's */
	int command_len;
	/*
	 * Of a checkpoint, a directory: the configuration and the root file system as they are in there, over the image with this
	 * manifest, which is not pulled. digest NULL: of the image as it is.
	 */
	int checkpoint;
	const char *digest;
};

struct bundle_made {
	char path[PATH_MAX];
	int tree,
		claim; /* the root file system; the lock that keeps the bundle until there is a state directory */
	int user_ns; /* an ordinary user's: the number by which the configuration knows it is reserved first */
};

/* bundle_close() releases it, also after an error. The bundle itself is the container's, or the caller's to remove. */
int bundle_make(const struct context *ctx, const struct store *store,
		const struct bundle_order *order, struct bundle_made *made, struct error *err);
void bundle_close(struct bundle_made *made);

/* For restore and clone: as runtime_restore.make_bundle, with data a struct bundle_restore. */
struct bundle_restore {
	const struct context *ctx;
	const struct store *store;
	struct option_passed passed; /* to hull-image: of which store */
};
int bundle_restore(void *data, const char *id, int images, const struct manifest_image *image,
		   struct runtime_bundle *bundle, struct error *err);

#define BUNDLE_OPTIONS(b)                                                                        \
	{                                                                                        \
		"store", 0, OPTION_PASS_ON, &(b)->passed, "DIR",                                 \
			"the image store, for the checkpoint of a container of hull run --image" \
	}

#endif
