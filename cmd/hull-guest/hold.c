/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding the container while a snapshot of the machine is made. The machine goes on twice from there, here and wherever it is
 * restored, and nothing of the container may run there before that machine knows who and when it is. So it is frozen before,
 * and a file, whose being there is what counts, says in both of them that it is to be thawed.
 *
 * It is the freezing of a `pause`, without the record of one: the container is as running as before to whoever asks.
 */
#include <fcntl.h>
#include <unistd.h>

#include "cmd/hull-guest/guest.h"
#include "runtime/runtime.h"

#define HELD GUEST_RUN "/held"

/* For a command that is under way here; the host begins none while it makes a checkpoint. */
#define HOLD_LOCK_MS 5000

static int freeze(struct container *c, struct error *err)
{
	_cleanup_close_ int mark = open(HELD, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int r;

	if (mark < 0)
		return error_errno(err, errno, "create `%s`", HELD);
	r = c->sandbox.ops->pause(&c->sandbox, err);
	if (r < 0)
		unlink(HELD);
	return r;
}

int hold_begin(const struct store *store, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	_cleanup_close_ int lock = -EBADF;
	char id[STORE_ID_MAX + 2];
	int r;

	if (access(HELD, F_OK) == 0)
		return 0;
	r = request_load_id(id, sizeof(id), err);
	if (r < 0)
		return r;
	/* An exec that is frozen half-way would keep the lock. */
	lock = store_lock(store, id, HOLD_LOCK_MS, err);
	if (lock < 0)
		return lock;
	r = container_open(store, id, CONTAINER_READ, &c, err);
	if (r < 0 || (c.status != OCI_RUNNING && c.status != OCI_CREATED))
		return r;
	return freeze(&c, err);
}

int hold_end(const struct store *store, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	char id[STORE_ID_MAX + 2];
	int r;

	if (access(HELD, F_OK) < 0)
		return 0;
	r = request_load_id(id, sizeof(id), err);
	if (r == 0)
		r = container_open(store, id, CONTAINER_READ, &c, err);
	if (r == 0 && c.status != OCI_STOPPED)
		r = c.sandbox.ops->resume(&c.sandbox, err);
	if (r == 0 && unlink(HELD) < 0)
		r = error_errno(err, errno, "remove `%s`", HELD);
	return r;
}
