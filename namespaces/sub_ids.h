/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ids of an ordinary user's beside its own: those that /etc/subuid and /etc/subgid grant it (subuid(5)), and a user namespace in
 * which it is root over them. The mapping is the one that podman uses: 0 is the user, 1 and what follows are the granted ids, in the
 * order of the file; so files that one makes are files of the other.
 */
#ifndef HULL_NAMESPACES_SUB_IDS_H
#define HULL_NAMESPACES_SUB_IDS_H

#include "base/error.h"
#include "oci/config.h"

#define SUB_IDS_MAX 32 /* ranges; what comes after them is not used */
#define SUB_IDS_FILE_MAX \
	((size_t)16 << 20) /* bytes of such a file: some sites list thousands of users */

struct ns_sub_ids {
	struct oci_id_mappings uids, gids; /* into the arrays below: not to be copied */
	struct oci_id_mapping uid_items[SUB_IDS_MAX + 1], gid_items[SUB_IDS_MAX + 1];
};

/*
 * Adds the ranges that the text of such a file grants to the user, by name (may be NULL) or number, to maps, which has room for
 * SUB_IDS_MAX + 1 items and whose first is the user's own. A line that is none, and a range that overlaps with one before it, is
 * left out. Returns how many were added.
 */
size_t ns_sub_ids_parse(const char *text, const char *user, uid_t uid,
			struct oci_id_mappings *maps);

/* The mappings for the calling user; name may be NULL. -ENOENT, with a reason, where the user has no such ids. */
int ns_sub_ids_find(struct ns_sub_ids *ids, const char *name, struct error *err);

/*
 * Puts the calling process, which has one thread, into a new user namespace with these mappings, by newuidmap(1) and newgidmap(1), and into a
 * mount namespace of that: it is root in there, with all capabilities. After an error it is where it was; or, where the last step
 * failed, geteuid() is 0 and it must end.
 */
int ns_sub_ids_enter(const struct ns_sub_ids *ids, struct error *err);

#endif
