/* SPDX-License-Identifier: Apache-2.0 */
/* An ordinary user's command goes on in a user namespace with the user's sub-ids, so that owners in layers can be kept. */
#include <pwd.h>
#include <string.h>

#include "base/log.h"
#include "cmd/hull-image/command.h"

static bool wants_ids(const struct arguments *a)
{
	/* Root of the host, or of a user namespace that somebody else made. */
	if (geteuid() == 0 || a->command->ids == SUB_IDS_NONE)
		return false;
	/* Blobs and trees of one owner take no other ids. */
	return !a->rootless && !a->no_layers;
}

/* Those who have no sub-ids get less than others, and read why. */
static void explain(const struct arguments *a, const struct error *why)
{
	if (!strcmp(a->command->name, "pull"))
		log_warning("layers are not unpacked, as their owners cannot be kept: %s",
			    why->text);
	else if (!strcmp(a->command->name, "unpack") && strcmp(a->format, "erofs") != 0)
		log_warning("all files will belong to this user: %s", why->text);
	else
		log_debug("without a user namespace: %s", why->text);
}

int enter_user_namespace(struct arguments *a, struct ns_sub_ids *ids, struct error *err)
{
	const struct passwd *user;
	struct error why = { 0 };

	if (!wants_ids(a)) {
		a->rootless = a->rootless || geteuid() != 0;
		return 0;
	}
	user = getpwuid(geteuid());
	/* The user's own store, while the user is not called 0 yet. */
	if (!a->store && image_store_default_path(&a->own_store, NULL) >= 0)
		a->store = a->own_store;
	if (ns_sub_ids_find(ids, user ? user->pw_name : NULL, &why) >= 0 &&
	    ns_sub_ids_enter(ids, &why) >= 0) {
		a->ids = ids;
		return 0;
	}
	if (geteuid() == 0) {
		*err = why;
		return error_wrap(err, "user namespace (--rootless does without)");
	}
	if (a->command->ids == SUB_IDS_NEEDED) {
		*err = why;
		return -err->code;
	}
	explain(a, &why);
	a->rootless = true;
	return 0;
}
