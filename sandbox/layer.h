/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writable layers: what one workload changes of a root file system that others have, too. The root file system stays as it is, and
 * the layer goes with the workload.
 */
#ifndef HULL_SANDBOX_LAYER_H
#define HULL_SANDBOX_LAYER_H

#include "base/error.h"

/*
 * Makes a layer in dir, an empty directory, over the directory at the absolute path rootfs. What is mounted beneath that is not
 * seen in it. Returns the two together as a mount that is attached nowhere, and that ends with its last user. -EINVAL where the file
 * system of dir cannot hold a layer.
 */
int layer_open(int dir, const char *rootfs, struct error *err);

/*
 * Gives the root file system behind root an id of its own where it has one (machine-id(5)): in /etc/machine-id, and the same in
 * /var/lib/dbus/machine-id, where they are regular files. The content is hostile.
 */
int layer_new_machine_id(int root, struct error *err);

/* The directory of a layer, or of a bundle of an image, in which what was changed is. */
#define LAYER_CHANGES "upper"

/* Has hull-image write the changes of a workload that stands still, in the directory `changes`, to the file out, as a layer. */
int layer_save(int changes, int out, struct error *err);

#endif
