/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may make, read and write. The meaning of the rules, the same for v1 and
 * v2: each of the three kinds of access is decided by the last rule that names the device and it;
 * what no rule names is denied. An access of several kinds (open for reading and writing) needs
 * each of them, so a rule that denies writing cannot be passed by opening for both.
 *
 * v1 has one default and a list of exceptions, which a rule adds or, if it is in the list, removes.
 * That can say the same for all rules but those that cut a hole in an exception; these are refused.
 *
 * Sources: runtime-spec config-linux.md "Allowed Device list"; security/device_cgroup.c;
 * Documentation/admin-guide/cgroup-v1/devices.rst.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "cgroups/internal.h"

#define ALL_ACCESS    ((unsigned)(BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE))
#define OVERRULED_MAX 256 /* rules that are compared with each other */

/*
 * What every container may have, whatever its configuration: a node of any device made, though not
 * opened, and the devices of config-linux.md "Default Devices" with those that a terminal needs.
 * net/tun is not among those, but all runtimes have allowed it for so long that VPNs rely on it.
 */
static const struct cgroup_device_rule default_rules[] = {
	{ -1, -1, BPF_DEVCG_ACC_MKNOD, 'a', true },
	{ 10, 200, ALL_ACCESS, 'c', true }, /* net/tun */
	{ 136, -1, ALL_ACCESS, 'c', true }, /* pts/N */
	{ 5, 2, ALL_ACCESS, 'c', true },    /* ptmx */
	{ 5, 1, ALL_ACCESS, 'c', true },    /* console */
	{ 5, 0, ALL_ACCESS, 'c', true },    /* tty */
	{ 1, 9, ALL_ACCESS, 'c', true },    /* urandom */
	{ 1, 8, ALL_ACCESS, 'c', true },    /* random */
	{ 1, 7, ALL_ACCESS, 'c', true },    /* full */
	{ 1, 5, ALL_ACCESS, 'c', true },    /* zero */
	{ 1, 3, ALL_ACCESS, 'c', true },    /* null */
};

static bool parse_access(const char *text, unsigned *access)
{
	*access = 0;
	for (; *text; text++)
		switch (*text) {
		case 'r':
			*access |= BPF_DEVCG_ACC_READ;
			break;
		case 'w':
			*access |= BPF_DEVCG_ACC_WRITE;
			break;
		case 'm':
			*access |= BPF_DEVCG_ACC_MKNOD;
			break;
		default:
			return false;
		}
	return true;
}

static bool parse_number(struct opt_i64 number, int64_t *out)
{
	*out = number.set && number.v >= 0 ? number.v : -1;
	return *out <= UINT32_MAX;
}

static int parse_rule(const struct oci_device_rule *given, size_t i,
		      struct cgroup_device_rule *rule, struct error *err)
{
	const char *type = given->type && *given->type ? given->type : "a";

	rule->allow = given->allow;
	rule->type = type[0] == 'u' ? 'c' : type[0]; /* mknod(1)'s other name of it */
	if (strlen(type) != 1 || !strchr("abcu", type[0]))
		return error_set(
			err, EINVAL,
			"cgroup: linux.resources.devices[%zu].type is `%.16s`; give a, b or c", i,
			type);
	if (!parse_number(given->major, &rule->major) || !parse_number(given->minor, &rule->minor))
		return error_set(
			err, EINVAL,
			"cgroup: linux.resources.devices[%zu]: no device has a number that "
			"large; correct major or minor",
			i);
	rule->access = ALL_ACCESS;
	if (given->access && *given->access && !parse_access(given->access, &rule->access))
		return error_set(
			err, EINVAL,
			"cgroup: linux.resources.devices[%zu].access is `%.16s`; give letters "
			"of r, w and m",
			i, given->access);
	return 0;
}

static bool about_all(const struct cgroup_device_rule *rule)
{
	return rule->type == 'a' && rule->major < 0 && rule->minor < 0 &&
	       rule->access == ALL_ACCESS;
}

static bool contains(int64_t wide, int64_t narrow)
{
	return wide < 0 || wide == narrow;
}

/*
 * Drops the rules of which a later one decides everything. Engines list the default devices, too,
 * and each rule is time at a start: of the kernel's verifier, or of a write.
 */
static size_t drop_overruled(struct cgroup_device_rule *rules, size_t count)
{
	size_t n = 0;

	if (count > OVERRULED_MAX)
		return count;
	for (size_t i = 0; i < count; i++) {
		bool overruled = false;

		for (size_t j = i + 1; j < count && !overruled; j++)
			overruled = (rules[j].type == 'a' || rules[j].type == rules[i].type) &&
				    contains(rules[j].major, rules[i].major) &&
				    contains(rules[j].minor, rules[i].minor) &&
				    (rules[i].access & ~rules[j].access) == 0;
		if (!overruled)
			rules[n++] = rules[i];
	}
	return n;
}

/* Checks the configured rules into all, and adds the default ones. Returns how many. */
static ssize_t fill_rules(const struct oci_device_rules *configured, struct cgroup_device_rule *all,
			  struct error *err)
{
	size_t n = 0;

	for (size_t i = 0; i < configured->len; i++) {
		int r = parse_rule(&configured->items[i], i, &all[n], err);

		if (r < 0)
			return r;
		if (about_all(&all[n])) {
			all[0] = all[n];
			n = 0;
		}
		n++;
	}
	/* A container that may do all needs no list of what it may do. */
	if (n == 1 && about_all(&all[0]) && all[0].allow)
		return 1;
	memcpy(all + n, default_rules, sizeof(default_rules));
	return (ssize_t)drop_overruled(all, n + ARRAY_SIZE(default_rules));
}

ssize_t cgroup_device_rules(const struct oci_device_rules *configured,
			    struct cgroup_device_rule **rules, struct error *err)
{
	struct cgroup_device_rule *all;
	ssize_t n;

	*rules = NULL;
	if (configured->len > CGROUP_DEVICE_RULES_MAX)
		return error_set(err, E2BIG,
				 "cgroup: linux.resources.devices has %zu rules; give %d at most",
				 configured->len, CGROUP_DEVICE_RULES_MAX);
	all = calloc(configured->len + ARRAY_SIZE(default_rules), sizeof(*all));
	if (!all)
		return error_errno(err, ENOMEM, "cgroup: device rules");
	n = fill_rules(configured, all, err);
	if (n < 0)
		free(all);
	else
		*rules = all;
	return n;
}

/* ---- v1 ----------------------------------------------------------------------------------- */

/* "c 1:3 rwm", "b *:* m" */
static void rule_text(const struct cgroup_device_rule *rule, char type, char text[64])
{
	char major[24] = "*", minor[24] = "*";

	if (rule->major >= 0)
		snprintf(major, sizeof(major), "%lld", (long long)rule->major);
	if (rule->minor >= 0)
		snprintf(minor, sizeof(minor), "%lld", (long long)rule->minor);
	snprintf(text, 64, "%c %s:%s %s%s%s", type, major, minor,
		 rule->access & BPF_DEVCG_ACC_READ ? "r" : "",
		 rule->access & BPF_DEVCG_ACC_WRITE ? "w" : "",
		 rule->access & BPF_DEVCG_ACC_MKNOD ? "m" : "");
}

static bool overlap(int64_t a, int64_t b)
{
	return a < 0 || b < 0 || a == b;
}

/* What an exception is to be after a rule that agrees with the default took its part back. */
static int take_back(const struct cgroup_device_rule *rule, struct cgroup_device_rule *exception,
		     struct error *err)
{
	char text[64];

	if (!(exception->access & rule->access) ||
	    (rule->type != 'a' && rule->type != exception->type) ||
	    !overlap(exception->major, rule->major) || !overlap(exception->minor, rule->minor))
		return 0;
	if (contains(rule->major, exception->major) && contains(rule->minor, exception->minor)) {
		exception->access &= ~rule->access;
		return 0;
	}
	/* "c 1:3" cannot be cut out of "c 1:*". */
	rule_text(rule, rule->type, text);
	return error_set(
		err, EOPNOTSUPP,
		"cgroup: linux.resources.devices: cgroup v1 cannot %s `%s` after an earlier "
		"rule about more devices than that; name those devices one by one instead",
		rule->allow ? "allow" : "deny", text);
}

static size_t drop_empty(struct cgroup_device_rule *rules, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (rules[i].access)
			rules[n++] = rules[i];
	return n;
}

ssize_t cgroup_device_exceptions(const struct cgroup_device_rule *rules, size_t count, bool *allow,
				 struct cgroup_device_rule **exceptions, struct error *err)
{
	bool begins_with_all = about_all(&rules[0]);
	struct cgroup_device_rule *list = calloc(2 * count, sizeof(*list));
	size_t n = 0;
	int r = 0;

	if (!list)
		return error_errno(err, ENOMEM, "cgroup: device rules");
	*allow = begins_with_all && rules[0].allow;
	for (size_t i = begins_with_all; r == 0 && i < count; i++) {
		const struct cgroup_device_rule *rule = &rules[i];

		for (size_t e = 0; r == 0 && rule->allow == *allow && e < n; e++)
			r = take_back(rule, &list[e], err);
		for (const char *type = "bc"; rule->allow != *allow && *type; type++)
			if (rule->type == 'a' || rule->type == *type) {
				list[n] = *rule;
				list[n++].type = *type;
			}
	}
	if (r < 0) {
		free(list);
		return r;
	}
	*exceptions = list;
	return (ssize_t)drop_empty(list, n);
}

/* Writes a line each into one of the two files. */
static int write_rules(const struct cgroup *cg, int h, bool allow, const char (*lines)[64],
		       size_t count, struct error *err)
{
	const char *file = allow ? "devices.allow" : "devices.deny";
	_cleanup_close_ int fd = openat(cg->dirs[h], file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return cgroup_write_failed(cg, h, "devices", file, "a", errno, err);
	for (size_t i = 0; i < count; i++) {
		int r = file_write_all(fd, lines[i], strlen(lines[i]));

		if (r == -EPERM)
			return error_set(
				err, EPERM,
				"cgroup: linux.resources.devices: the cgroups above `%s%s` do not "
				"allow `%s` themselves, or hull lacks CAP_SYS_ADMIN; allow it "
				"there, or remove the rule",
				cg->host->hierarchies[h].mount, cg->path, lines[i]);
		if (r < 0)
			return cgroup_write_failed(cg, h, "devices", file, lines[i], -r, err);
	}
	return 0;
}

static int apply_v1(const struct cgroup *cg, int h, const struct cgroup_device_rule *rules,
		    size_t count, struct error *err)
{
	static const char all[1][64] = { "a" };
	_cleanup_free_ struct cgroup_device_rule *exceptions = NULL;
	_cleanup_free_ char(*lines)[64] = NULL;
	bool allow;
	ssize_t n = cgroup_device_exceptions(rules, count, &allow, &exceptions, err);
	int r;

	if (n < 0)
		return (int)n;
	lines = calloc((size_t)n + 1, sizeof(*lines));
	if (!lines)
		return error_errno(err, ENOMEM, "cgroup: device rules");
	for (ssize_t i = 0; i < n; i++)
		rule_text(&exceptions[i], exceptions[i].type, lines[i]);
	r = write_rules(cg, h, allow, all, 1, err);
	return r < 0 ? r : write_rules(cg, h, !allow, lines, (size_t)n, err);
}

int cgroup_devices_apply(const struct cgroup *cg, const struct oci_device_rules *configured,
			 struct error *err)
{
	int r, h = cgroup_v1_find(cg->host, "devices");
	struct cgroup_device_rule *rules;
	bool v2 = h < 0;
	ssize_t n;

	if (v2)
		h = cgroup_v2_find(cg->host);
	if (h < 0 || cg->dirs[h] < 0)
		return cgroup_missing(cg, "devices", "devices", err);
	n = cgroup_device_rules(configured, &rules, err);
	if (n < 0 || !rules)
		return (int)n;
	r = v2 ? cgroup_device_attach(cg, h, rules, (size_t)n, err)
	       : apply_v1(cg, h, rules, (size_t)n, err);
	free(rules);
	return r;
}
