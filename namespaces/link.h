/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network devices that move between network namespaces (linux.netDevices), by rtnetlink(7). The few messages that this takes are
 * made and read here; each length is checked, also those of the kernel's answers.
 *
 * Sources: runtime-spec config-linux.md "Network Devices" (1.3.0), rtnetlink(7), netlink(7), network_namespaces(7).
 */
#ifndef HULL_NAMESPACES_LINK_H
#define HULL_NAMESPACES_LINK_H

#include <stdbool.h>

#include "base/error.h"
#include "oci/config.h"

#define LINK_RECORD "net-devices" /* the file in the state directory that lists what was moved */

/*
 * Whether a network device may have this name: 1 to 15 bytes, no "/", ":", "%" or blank, neither "." nor ".."
 * (dev_valid_name() in the kernel). pattern: with one "%d" in it, for which the kernel puts a number.
 */
bool link_valid_name(const char *name, bool pattern);

/*
 * Checks what can be said of linux.netDevices without looking at the host: names, two devices with one name, a network
 * namespace to move them to, and privilege. -EINVAL or -EPERM, with the JSON path.
 */
int link_check_devices(const struct oci_config *config, struct error *err);

/*
 * Moves each device of devices from the caller's network namespace into netns (a descriptor), with its new name and its permanent
 * global addresses, and sets it up. What was moved is written to LINK_RECORD in the directory state_dir. When one cannot be moved,
 * those before it are moved back. The caller must be single-threaded: it enters netns for a moment.
 */
int link_move_devices(const struct oci_net_devices *devices, int netns, int state_dir,
		      struct error *err);

/*
 * Moves the devices that LINK_RECORD lists from netns back to the caller's network namespace, with the names that they had there,
 * and removes the list. A device that is gone is no error; what cannot be moved is a warning in the log. restore: also with their
 * addresses, and up where they were up: when no process of the container's has run. Otherwise they come without any address and
 * down, for the container may have put anything on them. No-op where there is no list.
 */
int link_return_devices(int netns, int state_dir, bool restore, struct error *err);

#endif
