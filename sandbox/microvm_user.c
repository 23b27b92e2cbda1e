/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is otherwise for an ordinary user: user namespaces for the two processes. The guest is given whatever the file server can open, so
 * that is never more than the user could: its privilege is that of its user namespace, over ids that are the user's own or that
 * newuidmap(1) grants.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/message.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "namespaces/plan.h"
#include "sandbox/container.h"
#include "sandbox/microvm.h"

/* ---- ids ---------------------------------------------------------------------------------------------- */

static struct oci_id_mapping as_it_is(uint32_t id, uint32_t size)
{
	return (struct oci_id_mapping){ .container_id = id, .host_id = id, .size = size };
}

struct microvm_ids microvm_vmm_ids(struct oci_id_mapping own[2])
{
	own[0] = (struct oci_id_mapping){ .container_id = 0, .host_id = geteuid(), .size = 1 };
	own[1] = (struct oci_id_mapping){ .container_id = 0, .host_id = getegid(), .size = 1 };
	return (struct microvm_ids){ { &own[0], 1 }, { &own[1], 1 } };
}

static bool covers(const struct oci_id_mappings *maps, uint32_t id)
{
	for (size_t i = 0; i < maps->len; i++)
		if (id >= maps->items[i].host_id &&
		    id - maps->items[i].host_id < maps->items[i].size)
			return true;
	return false;
}

/* The host's ids of the mappings, and our own, by which we reach the files; no mappings: the container's root is who owns what we own. */
static int name_as_outside(const struct oci_id_mappings *maps, uint32_t own,
			   struct oci_id_mappings *out, struct arena *arena)
{
	struct oci_id_mapping *items = arena_array(arena, maps->len + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	*out = (struct oci_id_mappings){ items, maps->len };
	for (size_t i = 0; i < maps->len; i++)
		items[i] = as_it_is(maps->items[i].host_id, maps->items[i].size);
	if (!covers(maps, own))
		items[out->len++] = as_it_is(own, 1);
	if (!maps->len)
		items[0].container_id = 0;
	return 0;
}

int microvm_file_server_ids(const struct oci_config *config, struct microvm_ids *ids,
			    struct arena *arena, struct error *err)
{
	static const struct oci_id_mappings none;
	const struct oci_linux *l = config->linux_;
	bool mapped = oci_namespace_find(config, OCI_NS_USER) != NULL;
	int r = name_as_outside(mapped ? &l->uid_mappings : &none, geteuid(), &ids->uids, arena);

	if (r == 0)
		r = name_as_outside(mapped ? &l->gid_mappings : &none, getegid(), &ids->gids,
				    arena);
	return r < 0 ? error_errno(err, ENOMEM, "plan the id mappings") : 0;
}

/* ---- the namespaces ----------------------------------------------------------------------------------- */

/* In the child. Nothing that it could do is allowed to it before. */
static void await_ids(const int ends[2])
{
	struct message message;

	close(ends[0]); /* so that the end of the other is the end of the channel */
	if (message_receive(ends[1], &message, NULL, 0, NULL) < 0)
		_exit(1);
	close(ends[1]);
}

static int map_ids(int channel, pid_t pid, const struct microvm_ids *ids, struct error *err)
{
	_cleanup_close_ int proc = process_open_dir(pid, err);
	int r;

	if (proc < 0)
		return proc;
	r = ns_write_id_mappings(proc, pid, &ids->uids, &ids->gids, err);
	return r < 0 ? r : message_send(channel, CONTROL_DONE, NULL, 0, NULL, 0, err);
}

static pid_t clone_in_user_namespace(const struct microvm_plan *plan, unsigned long flags,
				     const struct microvm_ids *ids, bool *in_cgroup,
				     struct error *err)
{
	int ends[2], r = message_pair(ends, err);
	pid_t pid;

	if (r < 0)
		return -1;
	pid = cgroup_clone(&plan->cgroup, flags | CLONE_NEWUSER, in_cgroup);
	if (pid == 0) {
		await_ids(ends);
		return 0;
	}
	if (pid < 0)
		error_errno(err, errno, "make a user namespace (see `hull check`)");
	close(ends[1]);
	if (pid > 0 && map_ids(ends[0], pid, ids, err) < 0)
		spawn_discard(&pid);
	close(ends[0]);
	return pid > 0 ? pid : -1;
}

pid_t microvm_clone(const struct microvm_plan *plan, unsigned long flags,
		    const struct microvm_ids *ids, bool *in_cgroup, struct error *err)
{
	pid_t pid;

	if (geteuid() != 0)
		return clone_in_user_namespace(plan, flags, ids, in_cgroup, err);
	pid = cgroup_clone(&plan->cgroup, flags, in_cgroup);
	if (pid < 0)
		error_errno(err, errno, "clone3");
	return pid;
}

/* Another than root keeps only what is ambient. */
int microvm_keep_privilege(struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (geteuid() == 0)
		return 0;
	if (syscall(SYS_capget, &header, data) < 0)
		return error_errno(err, errno, "capget");
	for (int i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	if (syscall(SYS_capset, &header, data) < 0)
		return error_errno(err, errno, "capset");
	for (int cap = 0; cap < 64; cap++)
		if ((data[cap / 32].permitted >> cap % 32 & 1) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return error_errno(err, errno, "keep capability %d", cap);
	return 0;
}
