/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration to begin with, that `hull spec` writes. */
#ifndef HULL_OCI_SPEC_H
#define HULL_OCI_SPEC_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "oci/config.h"

/*
 * A configuration that runs `sh` on a terminal in "rootfs", read-only, with few capabilities and
 * new namespaces: what runc writes, for people and scripts expect that. As in newer runc there is a
 * cgroup namespace, and no ambient set, for none can be raised without an inheritable one.
 * rootless: also a user namespace, in which the effective ids of the caller are root; no network
 * namespace and no device rule, for which it would lack the power. Strings and structures are in
 * the arena or constant. NULL where there is no memory.
 */
struct oci_config *oci_spec_default(struct arena *arena, bool rootless, struct error *err);

#endif
