/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's network: hull-vmm is in the container's network namespace, which it cannot use. Whoever looks for that by the process
 * finds it, and what is put there the machine gets when its workload starts (namespaces/vm_net.h).
 */
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/process.h"
#include "base/syscalls.h"
#include "microvm/control.h"
#include "namespaces/plan.h"
#include "namespaces/vm_net.h"
#include "sandbox/microvm.h"
#include "sandbox/net_devices.h"

#define RESULT_MAX (2 * VM_NET_BYTES)

/* ---- in the namespace --------------------------------------------------------------------------------- */

/* What is done in a network namespace, and says something of it. netns: a descriptor; -EBADF: we are in it. */
typedef int network_visit(const struct sandbox *sb, int netns, struct strbuf *result,
			  struct error *err);

struct visit {
	network_visit *fn;
	const struct sandbox *sb;
	int netns;
	int out; /* for the result */
};

/* An ordinary user enters the user namespace first to which it belongs: hull-vmm's. */
static int visit_main(void *data, struct error *err)
{
	_cleanup_strbuf_ struct strbuf result = { 0 };
	_cleanup_close_ int owner = -EBADF;
	const struct visit *v = data;
	int r;

	if (geteuid() != 0) {
		owner = ioctl(v->netns, NS_GET_USERNS);
		if (owner < 0 || setns(owner, CLONE_NEWUSER) < 0)
			return error_errno(err, errno, "enter the container's network namespace");
	}
	if (setns(v->netns, CLONE_NEWNET) < 0)
		return error_errno(err, errno, "enter the container's network namespace");
	r = v->fn(v->sb, -EBADF, &result, err);
	if (r == 0 && file_write_all(v->out, result.data, result.len) < 0)
		r = error_errno(err, EIO, "describe the microVM's network");
	return r;
}

/* Only root of the host can leave the namespace again; others have a child go there. */
static int visit(network_visit *fn, const struct sandbox *sb, int netns, struct strbuf *result,
		 struct error *err)
{
	struct visit v = { .fn = fn, .sb = sb, .netns = netns };
	_cleanup_close_ int out = -EBADF;
	_cleanup_free_ char *text = NULL;
	ssize_t len;
	int r;

	if (process_is_host_root())
		return fn(sb, netns, result, err);
	out = v.out = memfd_create("network", MFD_CLOEXEC);
	if (out < 0)
		return error_errno(err, errno, "memfd_create");
	r = process_in_child(visit_main, &v, err);
	if (r < 0)
		return r;
	if (lseek(out, 0, SEEK_SET) < 0)
		return error_errno(err, errno, "describe the microVM's network");
	len = file_read_fd(out, RESULT_MAX, &text, err);
	if (len > 0)
		strbuf_add(result, text, (size_t)len);
	return len < 0 ? (int)len : 0;
}

/* ---- what for ----------------------------------------------------------------------------------------- */

static int count_cards(const struct sandbox *sb, int netns, struct strbuf *result,
		       struct error *err)
{
	int count = vm_net_count(netns, err);

	(void)sb;
	strbuf_add(result, &count, sizeof(count));
	return count < 0 ? count : 0;
}

static int count_interfaces(int netns, struct error *err)
{
	_cleanup_strbuf_ struct strbuf result = { 0 };
	int count, r = visit(count_cards, NULL, netns, &result, err);

	if (r < 0)
		return r;
	if (result.len != sizeof(count))
		return error_errno(err, ENOMEM, "count the network interfaces");
	memcpy(&count, result.data, sizeof(count));
	return count;
}

int microvm_plan_network(struct microvm_plan *plan, struct error *err)
{
	const struct oci_namespace *ns = oci_namespace_find(plan->sb->config, OCI_NS_NETWORK);
	_cleanup_ns_plan_ struct ns_plan namespaces;
	int count = ns_plan_open(&namespaces, plan->sb->config, err);

	if (count < 0)
		return count;
	if (ns->path) {
		plan->netns = take_fd(&namespaces.join_fds[OCI_NS_NETWORK]);
		if (plan->netns < 0)
			return error_set(err, ENOTSUP,
					 "/linux/namespaces: a microVM cannot share the network "
					 "namespace `%s`, in which we are ourselves: use another "
					 "one, or --sandbox container",
					 ns->path);
		count = count_interfaces(plan->netns, err);
	}
	if (count < 0)
		return count;
	count += (int)plan->sb->config->linux_->net_devices.len;
	/* One that is empty may still get an interface before the workload starts. */
	plan->cards = count > 1 ? (unsigned)count : 1;
	return 0;
}

int microvm_open_network(const struct sandbox *sb, struct error *err)
{
	char path[32];
	int netns;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", sb->pid);
	netns = open(path, O_RDONLY | O_CLOEXEC);
	return netns < 0 ? error_errno(err, errno, "open the container's network namespace")
			 : netns;
}

/* They are hull-vmm's, and connected with the machine when the workload starts. */
int microvm_move_net_devices(struct sandbox *sb, struct error *err)
{
	_cleanup_close_ int proc = -EBADF;

	if (!sb->config->linux_->net_devices.len)
		return 0;
	proc = process_open_procfs(err);
	return proc < 0 ? proc : net_devices_move(sb, proc, err);
}

static int connect_cards(const struct sandbox *sb, int netns, struct strbuf *description,
			 struct error *err)
{
	struct vm_net net;
	int r = vm_net_connect(netns, &net, err);

	for (uint32_t i = 0; r == 0 && i < net.count; i++)
		r = (int)microvm_order(sb, CONTROL_NET, &i, sizeof(i), net.taps[i], NULL, 0, err);
	if (r == 0 && net.count)
		r = vm_net_print(&net, description, err);
	vm_net_free(&net);
	return r;
}

int microvm_connect_network(const struct sandbox *sb, struct strbuf *description, struct error *err)
{
	_cleanup_close_ int netns = microvm_open_network(sb, err);

	return netns < 0 ? netns : visit(connect_cards, sb, netns, description, err);
}
