/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that goes on from a snapshot of a running one learns when it is, what it is called and where it is connected, and only
 * then lets the container go on. The same snapshot may be restored many times, and a restored machine saved again.
 */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/statfs.h>

#include "base/file.h"
#include "base/process.h"
#include "cmd/hull-guest/guest.h"
#include "namespaces/vm_net.h"
#include "runtime/runtime.h"

/* Until the host's file server is up: the container's first access to a file would wait as well, but nobody would hear an error. */
static int await_files(struct error *err)
{
	struct statfs st;

	if (statfs(GUEST_SHARED, &st) < 0)
		return error_errno(err, errno, "reach the host's files from the restored microVM");
	return 0;
}

/* Without a lock: nothing of the container runs, and the host lets no command of its own in. */
static int take_id(const struct guest *guest, struct container *c, const char *id,
		   struct error *err)
{
	int r = container_rename(&guest->store, c, id, err);

	return r < 0 ? r : file_replace(AT_FDCWD, GUEST_ID, id, strlen(id), 0600, err);
}

/* That of the container's UTS namespace, which is the machine's where it has no other. This process stays in there, and ends soon. */
static int take_hostname(const struct container *c, const char *hostname, struct error *err)
{
	_cleanup_close_ int init = -EBADF;

	if (!*hostname || c->status == OCI_STOPPED)
		return 0;
	init = process_open(c->record.pid, c->record.start_time, err);
	if (init < 0)
		return init;
	if (setns(init, CLONE_NEWUTS) < 0 || sethostname(hostname, strlen(hostname)) < 0)
		return error_errno(err, errno, "set the host name `%s` of the restored container",
				   hostname);
	return 0;
}

int restored_serve(struct guest *guest, const char *payload, size_t len, struct error *err)
{
	const uint32_t no_cards = 0;
	_cleanup_container_ struct container c = { .dir = -EBADF };
	struct agent_restored who;
	int r;

	if (len < sizeof(who))
		return error_errno(err, EPROTO, "restore");
	memcpy(&who, payload, sizeof(who));
	if (who.network_len != len - sizeof(who) || !memchr(who.id, '\0', sizeof(who.id)) ||
	    !memchr(who.hostname, '\0', sizeof(who.hostname)))
		return error_errno(err, EPROTO, "restore");
	r = machine_take_identity(who.time_ns, who.seed, err);
	if (r == 0)
		r = await_files(err);
	if (r == 0)
		r = container_open(&guest->store, guest->id, CONTAINER_READ, &c, err);
	if (r == 0)
		r = take_id(guest, &c, who.id, err);
	if (r == 0)
		r = take_hostname(&c, who.hostname, err);
	/* Without a description there are no interfaces: what the cards had goes. */
	if (r == 0)
		r = who.network_len ? vm_net_apply(payload + sizeof(who), who.network_len, err)
				    : vm_net_apply((const char *)&no_cards, sizeof(no_cards), err);
	return r < 0 ? r : hold_end(&guest->store, err);
}
