/* SPDX-License-Identifier: Apache-2.0 */
/* NUMA memory policies; see memory_policy.h. */
#include "sandbox/memory_policy.h"

#include <linux/mempolicy.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/number.h"

#define NODES_MAX                1024 /* the most that any Linux is built for */
#define MODE_WEIGHTED_INTERLEAVE 6    /* since Linux 6.9 */

enum nodes { NODES_NONE, NODES_SOME, NODES_OPTIONAL };

static const struct {
	const char *name;
	int mode;
	enum nodes nodes;
} modes[] = {
	{ "MPOL_DEFAULT", MPOL_DEFAULT, NODES_NONE },
	{ "MPOL_BIND", MPOL_BIND, NODES_SOME },
	{ "MPOL_INTERLEAVE", MPOL_INTERLEAVE, NODES_SOME },
	{ "MPOL_WEIGHTED_INTERLEAVE", MODE_WEIGHTED_INTERLEAVE, NODES_SOME },
	{ "MPOL_PREFERRED", MPOL_PREFERRED, NODES_OPTIONAL },
	{ "MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY, NODES_SOME },
	{ "MPOL_LOCAL", MPOL_LOCAL, NODES_NONE },
};

static const struct {
	const char *name;
	int flag;
} flags[] = {
	{ "MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING },
	{ "MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES },
	{ "MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES },
};

struct kernel_policy {
	int mode; /* with flags */
	unsigned long nodes[NODES_MAX / (8 * sizeof(unsigned long))];
};

const char *memory_policy_mode_name(unsigned index)
{
	return index < ARRAY_SIZE(modes) ? modes[index].name : NULL;
}

const char *memory_policy_flag_name(unsigned index)
{
	return index < ARRAY_SIZE(flags) ? flags[index].name : NULL;
}

static int resolve_flags(const struct oci_memory_policy *policy, bool has_nodes, int *out,
			 struct error *err)
{
	for (size_t i = 0; i < policy->flags.len; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(flags) && strcmp(flags[k].name, policy->flags.items[i]) != 0)
			k++;
		if (k == ARRAY_SIZE(flags))
			return error_set(err, EINVAL,
					 "/linux/memoryPolicy/flags/%zu: unknown flag `%s`", i,
					 policy->flags.items[i]);
		*out |= flags[k].flag;
	}
	if ((*out & MPOL_F_STATIC_NODES) && (*out & MPOL_F_RELATIVE_NODES))
		return error_set(
			err, EINVAL,
			"/linux/memoryPolicy/flags: nodes cannot be both static and relative");
	if (!has_nodes && (*out & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)))
		return error_set(
			err, EINVAL,
			"/linux/memoryPolicy/flags: say how to read nodes, but there are none");
	return 0;
}

static int resolve(const struct oci_memory_policy *policy, struct kernel_policy *out,
		   struct error *err)
{
	bool has_nodes = policy->nodes && *policy->nodes;
	size_t i = 0;

	*out = (struct kernel_policy){ 0 };
	if (!policy->mode)
		return error_set(err, EINVAL, "/linux/memoryPolicy/mode: is missing");
	while (i < ARRAY_SIZE(modes) && strcmp(modes[i].name, policy->mode) != 0)
		i++;
	if (i == ARRAY_SIZE(modes))
		return error_set(err, EINVAL, "/linux/memoryPolicy/mode: unknown mode `%s`",
				 policy->mode);
	if (modes[i].nodes == NODES_SOME && !has_nodes)
		return error_set(err, EINVAL, "/linux/memoryPolicy/nodes: %s needs nodes",
				 policy->mode);
	if (modes[i].nodes == NODES_NONE && has_nodes)
		return error_set(err, EINVAL, "/linux/memoryPolicy/nodes: %s takes no nodes",
				 policy->mode);
	if (has_nodes && !parse_list(policy->nodes, out->nodes, NODES_MAX))
		return error_set(err, EINVAL,
				 "/linux/memoryPolicy/nodes: `%.64s` is no list of nodes as 0-3,7",
				 policy->nodes);
	out->mode = modes[i].mode;
	return resolve_flags(policy, has_nodes, &out->mode, err);
}

int memory_policy_check(const struct oci_memory_policy *policy, struct error *err)
{
	struct kernel_policy kernel;

	return policy ? resolve(policy, &kernel, err) : 0;
}

int memory_policy_set(const struct oci_memory_policy *policy, struct error *err)
{
	struct kernel_policy kernel;
	bool has_nodes;
	int r;

	if (!policy)
		return 0;
	r = resolve(policy, &kernel, err);
	if (r < 0)
		return r;
	has_nodes = policy->nodes && *policy->nodes;
	/* The kernel takes one bit less than it is told. */
	if (syscall(SYS_set_mempolicy, kernel.mode, has_nodes ? kernel.nodes : NULL,
		    has_nodes ? NODES_MAX + 1UL : 0UL) < 0)
		return error_errno(err, errno, "/linux/memoryPolicy: set %s on nodes `%.64s`%s",
				   policy->mode, has_nodes ? policy->nodes : "",
				   errno == EINVAL
					   ? " (does this kernel have the mode and its flags, "
					     "and the cgroup these nodes?)"
					   : "");
	return 0;
}
