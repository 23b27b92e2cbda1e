/* SPDX-License-Identifier: Apache-2.0 */
/* The names of capabilities (capabilities(7); config.md, "Linux Process"). */
#ifndef HULL_OCI_CAPABILITY_H
#define HULL_OCI_CAPABILITY_H

#define CAPABILITIES 41 /* that have a name here */

/* The name of a capability ("CAP_CHOWN") by number, NULL behind the last. */
const char *capability_name(int number);

/* The number of a name, in any case of letters; -1 where it is none. */
int capability_find(const char *name);

#endif
