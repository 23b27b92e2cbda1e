/* SPDX-License-Identifier: Apache-2.0 */
/* kill, pause, resume, ps and delete. */
#include <signal.h>
#include <string.h>

#include "base/log.h"
#include "runtime/hooks.h"
#include "runtime/runtime.h"
#include "sandbox/bundle.h"

#define FORCE_LOCK_TIMEOUT \
	10000 /* milliseconds after which `delete --force` no longer waits for another command */

/*
 * Without the lock: the process is held by a pidfd, and nothing is recorded. A container must be killable whatever
 * another command on it does, or what the container does to that command.
 */
int runtime_kill(const struct store *store, const char *id, int sig, bool all, struct error *err)
{
	_cleanup_container_ struct container c;
	int r = container_open(store, id, CONTAINER_READ, &c, err);

	if (r < 0)
		return r;
	if (c.status == OCI_STOPPED && !all)
		return error_set(err, ESRCH, "container not running: `%s` has stopped",
				 id); /* containerd reads this */
	r = c.sandbox.ops->signal(&c.sandbox, sig, all, err);
	if (r == -ESRCH && all)
		return 0; /* nobody is left: that is what was wanted */
	if (r == -ESRCH)
		return error_set(err, ESRCH, "container not running: `%s` has stopped", id);
	return r;
}

int container_record_pause(struct container *c, struct error *err)
{
	c->record.paused = true;
	c->record.started = c->status == OCI_RUNNING;
	return record_write(c->dir, &c->record, err);
}

int runtime_pause(const struct store *store, const char *id, struct error *err)
{
	_cleanup_container_ struct container c;
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r < 0)
		return r;
	if (c.status != OCI_RUNNING && c.status != OCI_CREATED)
		return error_set(err, EINVAL, "cannot pause container `%s`: it is %s", id,
				 oci_status_name(c.status));
	r = container_record_pause(&c, err);
	return r < 0 ? r : c.sandbox.ops->pause(&c.sandbox, err);
}

int runtime_resume(const struct store *store, const char *id, struct error *err)
{
	_cleanup_container_ struct container c;
	struct error second = { 0 };
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r < 0)
		return r;
	if (c.status != OCI_PAUSED)
		return error_set(err, EINVAL, "cannot resume container `%s`: it is %s", id,
				 oci_status_name(c.status));
	r = c.sandbox.ops->resume(&c.sandbox, err);
	if (r < 0)
		return r;
	c.record.paused = false;
	/* It goes on whatever is recorded, and the kernel is asked again. */
	if (record_write(c.dir, &c.record, &second) < 0)
		log_warning("%s; the container goes on all the same", second.text);
	return 0;
}

ssize_t runtime_pids(const struct store *store, const char *id, pid_t **pids, char **table,
		     struct error *err)
{
	_cleanup_container_ struct container c;
	int r;

	*pids = NULL;
	if (table)
		*table = NULL;
	r = container_open(store, id, CONTAINER_READ, &c, err);
	if (r < 0)
		return r;
	if (table && c.status != OCI_STOPPED && c.sandbox.ops->ps)
		return c.sandbox.ops->ps(&c.sandbox, table, err);
	if (c.status == OCI_STOPPED)
		c.sandbox.pid = 0;
	return c.sandbox.ops->pids(&c.sandbox, pids, err);
}

/* poststop hooks come after the container is gone, and their failure stops nothing (runtime.md, "Lifecycle" step 13). */
static void run_poststop(struct container *c)
{
	struct error err = { 0 };

	c->status = OCI_STOPPED;
	if (c->config && c->config->hooks &&
	    container_run_hooks(c, &c->config->hooks->poststop, "poststop", &err) < 0)
		log_warning("%s", err.text);
}

int container_destroy(const struct store *store, struct container *c, struct error *err)
{
	int r = c->sandbox.ops->destroy(&c->sandbox, err);

	if (r < 0)
		return r;
	run_poststop(c);
	/* Before the record, by which whoever is killed in between can be followed. */
	if (c->record.owns_bundle)
		r = bundle_remove(c->record.bundle, err);
	if (r == 0 && c->record.layer && c->record.layer[0] == '/')
		r = bundle_remove(c->record.layer, err);
	return r < 0 ? r : store_remove(store, c->record.id, c->dir, err);
}

static int remove_locked(const struct store *store, struct container *c, bool force,
			 struct error *err)
{
	struct error ignored = { 0 };
	int r;

	if (c->status != OCI_STOPPED && c->status != OCI_CREATED && !force)
		return error_set(
			err, EBUSY,
			"cannot delete container `%s`: it is %s; kill it first, or use --force",
			c->record.id, oci_status_name(c->status));
	/* Without a configuration (creation was cut short) there are no hooks to run, and all else is in the record. */
	r = container_load_config(c, &ignored);
	if (r < 0 && !force && r != -ENOENT)
		log_warning("%s: poststop hooks are not run", ignored.text);
	return container_destroy(store, c, err);
}

/* With --force a command that holds the lock and hangs does not keep the container alive. */
static int open_forcibly(const struct store *store, const char *id, struct container *c,
			 struct error *err)
{
	int lock = store_lock(store, id, FORCE_LOCK_TIMEOUT, err), r;

	if (lock < 0 && lock != -EBUSY)
		return lock;
	if (lock < 0)
		log_warning("another command on container `%s` hangs: deleting it all the same",
			    id);
	r = container_open(store, id, CONTAINER_FORCE, c, err);
	if (r < 0 || lock < 0) {
		close_fd(&lock);
		return r;
	}
	close(c->dir);
	c->dir = c->sandbox.state_dir = lock;
	return 0;
}

int runtime_delete(const struct store *store, const char *id, bool force, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	int r = force ? open_forcibly(store, id, &c, err)
		      : container_open(store, id, CONTAINER_WRITE, &c, err);

	if (force && r == -ENOENT)
		return 0;
	return r < 0 ? r : remove_locked(store, &c, force, err);
}
