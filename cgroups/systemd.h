/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The systemd cgroup driver: systemd owns the tree and gives the container a part of it, a transient
 * scope. Where controllers are in cgroup v1, systemd makes the cgroup in the hierarchies that it manages, and we make
 * it at the same path in the others (cgroup_adopt()). The limits are the scope's properties, so that systemd keeps them when it reads its units
 * anew, and are written to the cgroup's files as well (apply.c), for systemd does not know all.
 *
 * hull links no D-Bus library: what is said to systemd goes through a program of its own,
 * libexec/hull/hull-systemd, one call a run. A request is a sequence of NUL-terminated fields; see
 * struct systemd_request.
 *
 * Sources: org.freedesktop.systemd1(5), systemd.resource-control(5), systemd.io "Control Group APIs
 * and Delegation"; the form of cgroupsPath and of the annotations is that of runc's docs/systemd.md.
 */
#ifndef HULL_CGROUPS_SYSTEMD_H
#define HULL_CGROUPS_SYSTEMD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "oci/config.h"

#define SYSTEMD_NAME_MAX          256                     /* bytes of a unit's name, NUL included */
#define SYSTEMD_PROPERTY          "org.systemd.property." /* annotations that set a property */
#define SYSTEMD_DEFAULT_SLICE     "system.slice"
#define SYSTEMD_USER_SLICE        "user.slice"
#define SYSTEMD_ANNOTATIONS_MAX   64
#define SYSTEMD_PROPERTY_ELEMENTS 256 /* of an array */
#define SYSTEMD_DEVICES \
	"a(ss)" /* the type of DeviceAllow: pairs of a device and letters of access */

/* A container's place. Plain data; unit "" is none. */
struct systemd_scope {
	char slice[SYSTEMD_NAME_MAX]; /* "system.slice"; "-.slice": the root; "" once it was made */
	char unit[SYSTEMD_NAME_MAX];  /* "hull-ID.scope" */
	bool user;                    /* of the user's manager, not of the system's */
};

/* Whether the caller's systemd is a user's: without root, or as root of a user namespace. *uid: whose. */
bool systemd_is_user(uid_t *uid);

/*
 * Finds the names: cgroups_path is "SLICE:PREFIX:NAME", of which each part may be empty, or absent (":hull:ID").
 * -EINVAL for what is no such path or gives no valid name.
 */
int systemd_scope_name(const char *cgroups_path, const char *id, bool user,
		       struct systemd_scope *scope, struct error *err);

/* The scope's cgroup: "/a.slice/a-b.slice/hull-ID.scope"; of a user's manager below "/user.slice/user-UID.slice/user@UID.service". */
int systemd_scope_path(const struct systemd_scope *scope, uid_t uid, char *path, size_t size,
		       struct error *err);

/* ---- requests: each field ends with a NUL ---------------------------------------------------- */

/*
 * "start", "set" or "stop"; "user" or "system"; the unit; then properties: name, D-Bus type (a basic type, "a" and one, or
 * SYSTEMD_DEVICES), number of values, values as text. Fails at the end: strbuf_failed().
 */
void systemd_request_begin(struct strbuf *request, const char *verb,
			   const struct systemd_scope *scope);

/* One property of one value. */
void systemd_request_add(struct strbuf *request, const char *name, const char *type,
			 const char *value);

/* One of count values: len bytes, each value's text with its NUL. */
void systemd_request_add_array(struct strbuf *request, const char *name, const char *type,
			       size_t count, const char *values, size_t len);

/* One from an annotation, "uint64 5" or "['a', 'b']" in GVariant's text format; "…Sec" becomes "…USec". -EINVAL. */
int systemd_request_add_annotation(struct strbuf *request, const char *key, const char *value,
				   struct error *err);

/*
 * The properties that limits are; those that systemd does not know are left out. v1: where systemd has the controllers in
 * cgroup v1, beside v2 or alone. -EINVAL for values that mean nothing.
 */
int systemd_request_add_limits(struct strbuf *request, const struct oci_resources *resources,
			       bool v1, struct error *err);

/*
 * The device filter. Only for v1, where systemd writes one of its own whenever it reads its units anew, and must be told;
 * in v2 it and we have a program each. -EOPNOTSUPP for rules that systemd cannot have.
 */
int systemd_request_add_devices(struct strbuf *request, const struct oci_device_rules *configured,
				struct error *err);

/*
 * Begins a "start" with all but the process: description, slice, delegation, accounting, limits, annotations; with v1
 * devices, too. Anything wrong in the configuration is found here.
 */
int systemd_scope_prepare(const struct systemd_scope *scope, const char *id,
			  const struct oci_resources *resources, const struct oci_map *annotations,
			  bool v1, struct strbuf *request, struct error *err);

/* ---- acting: runs hull-systemd ------------------------------------------------------------------ */

/*
 * Makes the scope of a prepared request with the process pid in it, and waits until systemd has done so. *cgroup (of size
 * bytes) is where it is.
 */
int systemd_scope_start(struct strbuf *request, pid_t pid, char *cgroup, size_t size,
			struct error *err);

/* Gives a scope other limits, and (v1 only) other devices. */
int systemd_scope_update(const struct systemd_scope *scope, const struct oci_resources *resources,
			 bool v1, bool devices, struct error *err);

/* Ends the scope; one that is gone is no error. What is in it should be dead: systemd would ask it kindly first. */
int systemd_scope_stop(const struct systemd_scope *scope, struct error *err);

#endif
