/* SPDX-License-Identifier: Apache-2.0 */
/* update: new limits for a running container, kept in its saved configuration. */
#include "base/file.h"
#include "runtime/runtime.h"

/*
 * memory.swap is memory plus swap, so a new memory limit changes what a swap limit that was set earlier means for cgroup
 * v2: both are written. checkBeforeUpdate stays in force, too.
 */
static struct oci_memory *memory_changes(const struct oci_memory *update,
					 const struct oci_memory *merged, struct arena *arena)
{
	struct oci_memory *m = arena_memdup(arena, update, sizeof(*m));

	if (!m)
		return NULL;
	if (m->limit.set && m->limit.v > 0 && (!m->swap.set || m->swap.v == 0))
		m->swap = merged->swap;
	m->check_before_update = merged->check_before_update;
	return m;
}

/* The kernel takes no shares for a cgroup that is idle, and forgets those it had: they are written when it is idle no more. */
static struct oci_cpu *cpu_changes(const struct oci_cpu *update, const struct oci_cpu *merged,
				   struct arena *arena)
{
	struct oci_cpu *c = arena_memdup(arena, update, sizeof(*c));

	if (!c)
		return NULL;
	if (merged->idle.set && merged->idle.v)
		c->shares = (struct opt_u64){ false, 0 };
	else if (c->idle.set)
		c->shares = merged->shares;
	return c;
}

/*
 * What is to be written for the update. Device rules that are the same as before (engines send all they know) need not be
 * set anew.
 */
static struct oci_resources *find_changes(const struct oci_resources *before,
					  const struct oci_resources *update,
					  const struct oci_resources *merged, struct arena *arena)
{
	struct oci_resources *changes = arena_memdup(arena, update, sizeof(*update));

	if (!changes)
		return NULL;
	if (changes->memory) {
		changes->memory = memory_changes(changes->memory, merged->memory, arena);
		if (!changes->memory)
			return NULL;
	}
	if (changes->cpu) {
		changes->cpu = cpu_changes(changes->cpu, merged->cpu, arena);
		if (!changes->cpu)
			return NULL;
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

static int save(const struct container *c, struct error *err)
{
	_cleanup_strbuf_ struct strbuf text = { 0 };
	int r = oci_config_print(c->config, &text, err);

	if (r == 0)
		r = file_replace(c->dir, "config.json", text.data, text.len, 0600, err);
	return r < 0 ? error_wrap(err, "the limits are changed, but could not be saved") : 0;
}

/* New devices may need the container to stand still for a moment (cgroup v1). */
static int update_sandbox(struct container *c, const struct oci_resources *changes,
			  const struct oci_resources *merged, struct error *err)
{
	bool may_freeze = changes->devices.len && c->status != OCI_PAUSED;
	int r = may_freeze ? container_record_pause(c, err) : 0, second;

	if (r < 0)
		return r;
	r = c->sandbox.ops->update(&c->sandbox, changes, merged, err);
	if (!may_freeze)
		return r;
	c->record.paused = false;
	second = record_write(c->dir, &c->record, r == 0 ? err : NULL);
	return r < 0 ? r : second;
}

/* Changes what resources names, and in c->config. */
static int update_resources(struct container *c, const struct oci_resources *resources,
			    struct error *err)
{
	const struct oci_resources *before = c->config->linux_->resources;
	struct oci_resources *merged = oci_resources_merge(before, resources, &c->arena);
	struct oci_resources *changes =
		merged ? find_changes(before, resources, merged, &c->arena) : NULL;
	int r;

	if (!changes)
		return error_errno(err, ENOMEM, "update");
	settle_swap(resources, merged);
	r = update_sandbox(c, changes, merged, err);
	if (r == 0)
		c->config->linux_->resources = merged;
	return r;
}

/* Changes the share of cache and memory bandwidth, and in c->config. */
static int update_class(struct container *c, const struct runtime_update *update, struct error *err)
{
	struct oci_linux *l = c->config->linux_;
	bool make = !l->intel_rdt;
	struct oci_intel_rdt *rdt =
		make ? arena_new(&c->arena, struct oci_intel_rdt) : l->intel_rdt;
	struct oci_intel_rdt changes;
	int r;

	if (!rdt)
		return error_errno(err, ENOMEM, "update");
	changes = (struct oci_intel_rdt){ .clos_id = rdt->clos_id,
					  .l3_cache_schema = update->l3_cache_schema,
					  .mem_bw_schema = update->mem_bw_schema };
	r = c->sandbox.ops->update_class(&c->sandbox, &changes, make, err);
	if (r < 0)
		return r;
	if (update->l3_cache_schema)
		rdt->l3_cache_schema = update->l3_cache_schema;
	if (update->mem_bw_schema)
		rdt->mem_bw_schema = update->mem_bw_schema;
	l->intel_rdt = rdt;
	return 0;
}

int runtime_update(const struct store *store, const char *id, const struct runtime_update *update,
		   struct error *err)
{
	_cleanup_container_ struct container c;
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
	if (!c.config->linux_)
		c.config->linux_ = arena_new(&c.arena, struct oci_linux);
	if (!c.config->linux_)
		return error_errno(err, ENOMEM, "update");
	if (update->resources)
		r = update_resources(&c, update->resources, err);
	if (r == 0 && (update->l3_cache_schema || update->mem_bw_schema))
		r = update_class(&c, update, err);
	return r < 0 ? error_wrap(err, "update container `%s`", id) : save(&c, err);
}
