/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles that were made for one container, with a directory of what it changes. */
#ifndef HULL_SANDBOX_BUNDLE_H
#define HULL_SANDBOX_BUNDLE_H

#include "base/error.h"

/*
 * Removes the bundle at an absolute path; that it is not there is success. What belongs to the calling user's sub-ids is removed from
 * within a user namespace that has them.
 */
int bundle_remove(const char *path, struct error *err);

#endif
