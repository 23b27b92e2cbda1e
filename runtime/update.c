/* SPDX-License-Identifier: Apache-2.0 */
/* update: new limits for a running container, kept in its saved configuration. */
#include "base/file.h"
#include "runtime/runtime.h"

/*
 * What is to be written for the update. memory.swap is memory plus swap, so a new memory limit changes what a
 * swap limit that was set earlier means for cgroup v2: both are written. checkBeforeUpdate stays in force, too. And
 * device rules that are the same as before (engines send all they know) need not be set anew.
 */
static struct oci_resources *find_changes(const struct oci_resources *before,
					  const struct oci_resources *update,
					  const struct oci_resources *merged, struct arena *arena)
{
	struct oci_resources *changes = arena_memdup(arena, update, sizeof(*update));

	if (!changes)
		return NULL;
	if (changes->memory) {
		struct oci_memory *m = arena_memdup(arena, changes->memory, sizeof(*m));

		if (!m)
			return NULL;
		if (m->limit.set && m->limit.v > 0 && (!m->swap.set || m->swap.v == 0))
			m->swap = merged->memory->swap;
		m->check_before_update = merged->memory->check_before_update;
		changes->memory = m;
	}
	if (before && oci_device_rules_equal(&before->devices, &update->devices))
		changes->devices = (struct oci_device_rules){ 0 };
	return changes;
}

/* Memory without a limit has none with swap either: what is written for that is also what is remembered. */
static void settle_swap(const struct oci_resources *update, struct oci_resources *merged)
{
	if (update->memory && update->memory->limit.set && update->memory->limit.v < 0 &&
	    !(update->memory->swap.set && update->memory->swap.v != 0))
		merged->memory->swap = (struct opt_i64){ true, -1 };
}

static int save(struct container *c, struct oci_resources *merged, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	int r;

	if (!c->config->linux_)
		c->config->linux_ = arena_new(&c->arena, struct oci_linux);
	if (!c->config->linux_)
		return error_errno(err, ENOMEM, "save the new limits");
	c->config->linux_->resources = merged;
	r = oci_config_print(c->config, &text, err);
	if (r == 0)
		r = file_replace(c->dir, "config.json", text.data, text.len, 0600, err);
	return r < 0 ? error_wrap(err, "the limits are changed, but could not be saved") : 0;
}

int runtime_update(const struct store *store, const char *id, const struct oci_resources *update,
		   struct error *err)
{
	_cleanup_container_ struct container c;
	struct oci_resources *merged, *changes;
	const struct oci_resources *before;
	int r = container_open(store, id, CONTAINER_WRITE, &c, err);

	if (r < 0)
		return r;
	if (c.status == OCI_STOPPED)
		return error_set(err, ESRCH,
				 "container not running: `%s` has stopped, so it has no limits",
				 id);
	r = container_load_config(&c, err);
	if (r < 0)
		return r;
	before = c.config->linux_ ? c.config->linux_->resources : NULL;
	merged = oci_resources_merge(before, update, &c.arena);
	changes = merged ? find_changes(before, update, merged, &c.arena) : NULL;
	if (!changes)
		return error_errno(err, ENOMEM, "update");
	settle_swap(update, merged);
	r = c.sandbox.ops->update(&c.sandbox, changes, merged, err);
	return r < 0 ? error_wrap(err, "update container `%s`", id) : save(&c, merged, err);
}
