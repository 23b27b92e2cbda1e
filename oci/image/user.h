/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user of an image's configuration ("uid", "uid:gid", "name", "name:group" and mixtures) as
 * numbers, by the root file system's own /etc/passwd and /etc/group. Both are hostile: they are
 * reached inside the root only, their size is bounded, and their numbers are parsed strictly.
 *
 * Source: image-spec config.md, "User"; conversion.md, "Config.User".
 */
#ifndef HULL_OCI_IMAGE_USER_H
#define HULL_OCI_IMAGE_USER_H

#include "oci/config.h"

#define IMAGE_USERS_MAX ((size_t)4 << 20) /* bytes of /etc/passwd or /etc/group; more is refused */

/*
 * Sets uid and gid of *user, and additional_gids where text is a user's name without a group. A number is
 * taken as it is, though no such user exists; a name that is not found is -ENOENT. text NULL or "": root.
 */
int image_user_resolve(int rootfs, const char *text, struct arena *arena, struct oci_user *user,
		       struct error *err);

#endif
