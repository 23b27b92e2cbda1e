/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a configuration is the machine's, what the host's and what the guest's.
 *
 * The machine has the memory that the workload may use and MACHINE_OVERHEAD for the guest's kernel. The workload's limit itself
 * holds in the guest, so that it ends as in a container; the host's holds for the machine with all that belongs to it.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/libexec.h"
#include "base/number.h"
#include "namespaces/mount_options.h"
#include "sandbox/microvm.h"

#define MIB              (UINT64_C(1) << 20)
#define DEFAULT_MEMORY   (512 * MIB) /* for the workload, where nothing says how much */
#define MACHINE_OVERHEAD (64 * MIB)  /* of the machine's memory: kernel, page tables, hull-guest */
#define HOST_OVERHEAD \
	(32 * MIB) /* beside the machine's memory: hull-vmm, file server, their kernel memory */
#define MEMORY_MAX (UINT64_C(512) << 30)
#define CPUS_MAX   32

/* What the kernel says goes to the serial port, of which hull-vmm keeps the end for its messages; a panic ends the machine. */
#define CMDLINE "console=ttyS0 quiet panic=-1 reboot=t dummy.numdummies=0"

#define ANNOTATION_MEMORY   "run.hull.vm.memory" /* MiB */
#define ANNOTATION_CPUS     "run.hull.vm.cpus"
#define ANNOTATION_KERNEL   "run.hull.vm.kernel"
#define ANNOTATION_TEMPLATE "run.hull.vm.template"

/* ---- the machine -------------------------------------------------------------------------------------- */

static const struct oci_resources *resources_of(const struct oci_config *config)
{
	return config->linux_ ? config->linux_->resources : NULL;
}

static int annotated(const struct oci_config *config, const char *key, uint64_t max, uint64_t *out,
		     struct error *err)
{
	const char *text = oci_annotation(config, key);

	if (text && (!parse_u64(text, max, out) || !*out))
		return error_set(err, EINVAL,
				 "/annotations/%s: `%s` is not a number from 1 to %llu", key, text,
				 (unsigned long long)max);
	return text ? 1 : 0;
}

uint64_t microvm_memory_for(int64_t limit)
{
	if (limit <= 0)
		return 0;
	if ((uint64_t)limit > MEMORY_MAX - MACHINE_OVERHEAD)
		return MEMORY_MAX / MIB;
	return ((uint64_t)limit + MACHINE_OVERHEAD + MIB - 1) / MIB;
}

static int plan_memory(const struct oci_config *config, struct microvm_machine *machine,
		       struct error *err)
{
	const struct oci_resources *res = resources_of(config);
	const struct oci_vm_hw_config *hw = config->vm ? config->vm->hw_config : NULL;
	uint64_t bytes = DEFAULT_MEMORY + MACHINE_OVERHEAD, mib;
	int r = annotated(config, ANNOTATION_MEMORY, MEMORY_MAX / MIB, &mib, err);

	if (r < 0)
		return r;
	if (r > 0)
		bytes = mib * MIB;
	else if (hw && hw->memory.set)
		bytes = hw->memory.v;
	else if (res && res->memory && res->memory->limit.v > 0)
		bytes = microvm_memory_for(res->memory->limit.v) * MIB;
	if (bytes < MACHINE_OVERHEAD || bytes > MEMORY_MAX)
		return error_set(
			err, EINVAL,
			"a microVM of %llu MiB of memory: must be from %llu MiB to %llu GiB",
			(unsigned long long)(bytes / MIB),
			(unsigned long long)(MACHINE_OVERHEAD / MIB),
			(unsigned long long)(MEMORY_MAX >> 30));
	machine->memory_mib = (bytes + MIB - 1) / MIB;
	return 0;
}

static int plan_cpus(const struct oci_config *config, struct microvm_machine *machine,
		     struct error *err)
{
	const struct oci_resources *res = resources_of(config);
	const struct oci_vm_hw_config *hw = config->vm ? config->vm->hw_config : NULL;
	uint64_t n = 1, period;
	int r = annotated(config, ANNOTATION_CPUS, CPUS_MAX, &n, err);

	if (r < 0)
		return r;
	if (r == 0 && hw && hw->vcpus.set) {
		n = hw->vcpus.v;
	} else if (r == 0 && res && res->cpu && res->cpu->quota.v > 0) {
		period = res->cpu->period.v ? res->cpu->period.v : 100000;
		n = ((uint64_t)res->cpu->quota.v + period - 1) / period;
		if (n > CPUS_MAX)
			n = CPUS_MAX;
	}
	if (n < 1 || n > CPUS_MAX)
		return error_set(err, EINVAL, "/vm/hwConfig/vcpus: %llu: must be from 1 to %d",
				 (unsigned long long)n, CPUS_MAX);
	machine->cpus = (unsigned)n;
	return 0;
}

/* The parameters, behind ours: of those that say the same the last one counts. */
static const char *join(struct arena *arena, const struct oci_strings *words)
{
	const char *text = CMDLINE;

	for (size_t i = 0; text && i < words->len; i++)
		text = arena_printf(arena, "%s %s", text, words->items[i]);
	return text;
}

static int plan_kernel(const struct oci_config *config, struct arena *arena,
		       struct microvm_machine *machine, struct error *err)
{
	const struct oci_vm_kernel *kernel = config->vm ? config->vm->kernel : NULL;
	char path[4096];
	int r;

	machine->kernel = oci_annotation(config, ANNOTATION_KERNEL);
	machine->cmdline = CMDLINE;
	if (kernel) {
		machine->kernel = kernel->path;
		machine->initrd = kernel->initrd;
		machine->cmdline = join(arena, &kernel->parameters);
	}
	if (!machine->kernel) {
		r = libexec_path("vmlinux", path, sizeof(path), err);
		if (r < 0)
			return r;
		machine->kernel = arena_strdup(arena, path);
	}
	machine->may_share = !kernel && !oci_annotation(config, ANNOTATION_KERNEL);
	if (!machine->initrd) {
		r = libexec_path("guest.cpio.gz", path, sizeof(path), err);
		if (r < 0)
			return r;
		machine->initrd = arena_strdup(arena, path);
	}
	return machine->kernel && machine->initrd && machine->cmdline
		       ? 0
		       : error_errno(err, ENOMEM, "plan the microVM");
}

static int plan_template(const struct oci_config *config, struct microvm_machine *machine,
			 struct error *err)
{
	const char *text = oci_annotation(config, ANNOTATION_TEMPLATE);

	if (text && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return error_set(err, EINVAL, "/annotations/%s: `%s` is neither true nor false",
				 ANNOTATION_TEMPLATE, text);
	if (text && !strcmp(text, "false"))
		machine->may_share = false;
	return 0;
}

int microvm_plan_machine(const struct oci_config *config, struct arena *arena,
			 struct microvm_machine *machine, struct error *err)
{
	int r = plan_memory(config, machine, err);

	if (r == 0)
		r = plan_cpus(config, machine, err);
	if (r == 0)
		r = plan_kernel(config, arena, machine, err);
	return r < 0 ? r : plan_template(config, machine, err);
}

/* ---- limits ------------------------------------------------------------------------------------------- */

/* Whether a file of cgroup v2 limits what is the guest's: its processes, and its memory, of which the host knows no kinds. */
static bool is_guest_limit(const char *file)
{
	if (!strncmp(file, "memory.swap.", strlen("memory.swap.")))
		return false; /* the guest has none: swapped is the machine */
	return !strncmp(file, "memory.", strlen("memory.")) ||
	       !strncmp(file, "pids.", strlen("pids."));
}

/* The limits by their file that are the guest's, or the others. NULL items, where there are any: no memory. */
static struct oci_map select_unified(const struct oci_map *all, bool of_guest, struct arena *arena)
{
	struct oci_map some = { arena_array(arena, all->len + 1, sizeof(*some.items)), 0 };

	for (size_t i = 0; some.items && i < all->len; i++)
		if (is_guest_limit(all->items[i].key) == of_guest)
			some.items[some.len++] = all->items[i];
	return some;
}

const struct oci_resources *microvm_host_resources(const struct oci_resources *res,
						   uint64_t memory_mib, struct arena *arena)
{
	struct oci_resources *host = arena_memdup(arena, res, sizeof(*res));
	struct oci_memory *memory;
	int64_t extra;

	if (!host)
		return NULL;
	/* The guest's processes are not the host's, and devices are opened before the jail is closed. */
	host->pids = NULL;
	host->devices = (struct oci_device_rules){ .len = 0 };
	host->unified = select_unified(&res->unified, false, arena);
	if (!host->unified.items)
		return NULL;
	if (!res->memory)
		return host;
	memory = arena_memdup(arena, res->memory, sizeof(*memory));
	if (!memory)
		return NULL;
	host->memory = memory;
	if (memory->limit.v > 0) {
		extra = (int64_t)(memory_mib * MIB + HOST_OVERHEAD) - memory->limit.v;
		memory->limit.v += extra;
		if (memory->swap.v > 0)
			memory->swap.v += extra;
	}
	return host;
}

/* What the guest's kernel can limit: not the host's disks, networks and huge pages. */
struct oci_resources *microvm_guest_resources(const struct oci_resources *res, struct arena *arena)
{
	struct oci_resources *guest = arena_new(arena, struct oci_resources);
	struct oci_memory *memory;

	if (!guest)
		return NULL;
	guest->devices = res->devices;
	guest->pids = res->pids;
	guest->unified = select_unified(&res->unified, true, arena);
	guest->cpu = arena_new(arena, struct oci_cpu);
	if (!guest->cpu || !guest->unified.items)
		return NULL;
	/* How much processor time there is, the host enforces; programs look for it inside. */
	if (res->cpu) {
		guest->cpu->shares = res->cpu->shares;
		guest->cpu->quota = res->cpu->quota;
		guest->cpu->period = res->cpu->period;
		guest->cpu->burst = res->cpu->burst;
	}
	if (!res->memory)
		return guest;
	memory = arena_new(arena, struct oci_memory);
	if (!memory)
		return NULL;
	memory->limit = res->memory->limit;
	memory->reservation = res->memory->reservation;
	memory->check_before_update = res->memory->check_before_update;
	guest->memory = memory;
	return guest;
}

/* ---- the guest's configuration ------------------------------------------------------------------------ */

void microvm_share_name(size_t i, char *name, size_t size)
{
	snprintf(name, size, "m%zu", i);
}

bool microvm_is_shared(const struct oci_mount *mount)
{
	struct mount_options opts;

	return mount_options_parse(&opts, mount, 0, NULL) == 0 && opts.bind && !opts.remount;
}

/* The host has mapped the ids of what it shares. */
static int drop_idmap(struct oci_mount *mount, struct arena *arena)
{
	const struct oci_strings all = mount->options;
	const char **kept = arena_array(arena, all.len + 1, sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	mount->options = (struct oci_strings){ .items = kept };
	for (size_t i = 0; i < all.len; i++)
		if (!mount_option_is_idmap(all.items[i]))
			kept[mount->options.len++] = all.items[i];
	mount->uid_mappings = mount->gid_mappings = (struct oci_id_mappings){ .len = 0 };
	return 0;
}

int microvm_adjust_mount(struct oci_mount *mount, const char *name, struct arena *arena)
{
	mount->source = arena_printf(arena, MICROVM_SHARED "/%s", name);
	return mount->source ? drop_idmap(mount, arena) : -ENOMEM;
}

static int adjust_mounts(struct oci_config *config, struct arena *arena)
{
	size_t len = config->mounts.len;
	struct oci_mount *items = arena_array(arena, len + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		char name[24];

		items[i] = config->mounts.items[i];
		if (!microvm_is_shared(&items[i]))
			continue;
		microvm_share_name(i, name, sizeof(name));
		if (microvm_adjust_mount(&items[i], name, arena) < 0)
			return -ENOMEM;
	}
	config->mounts.items = items;
	return 0;
}

/* The machine's network is the container's, and nobody else's is in it. */
static int adjust_namespaces(struct oci_linux *l, struct arena *arena)
{
	struct oci_namespace *items = arena_array(arena, l->namespaces.len + 1, sizeof(*items));
	size_t len = 0;

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < l->namespaces.len; i++)
		if (l->namespaces.items[i].type != OCI_NS_NETWORK)
			items[len++] = l->namespaces.items[i];
	l->namespaces = (struct oci_namespaces){ .items = items, .len = len };
	return 0;
}

static int adjust_hooks(struct oci_config *config, struct arena *arena)
{
	struct oci_hooks *hooks;

	if (!config->hooks)
		return 0;
	hooks = arena_new(arena, struct oci_hooks);
	if (!hooks)
		return -ENOMEM;
	hooks->start_container = config->hooks->start_container;
	config->hooks = hooks;
	return 0;
}

/* One without a name of its own begins with the host's, as a new uts namespace does. */
static int adjust_hostname(struct oci_config *config, struct arena *arena)
{
	struct utsname host;

	if ((config->hostname && *config->hostname) || uname(&host) < 0)
		return 0;
	config->hostname = arena_strdup(arena, host.nodename);
	return config->hostname ? 0 : -ENOMEM;
}

static int adjust(struct oci_config *config, struct arena *arena)
{
	struct oci_linux *l = arena_memdup(arena, config->linux_, sizeof(*l));
	struct oci_process *process = arena_memdup(arena, config->process, sizeof(*process));
	struct oci_root *root = arena_memdup(arena, config->root, sizeof(*root));
	int r;

	if (!l || !process || !root)
		return -ENOMEM;
	config->linux_ = l;
	config->process = process;
	config->root = root;
	config->vm = NULL;
	config->annotations = (struct oci_map){ .len = 0 };
	root->path = MICROVM_SHARED "/root";
	/* Labels are of the host's security modules; the guest has no such, and the machine is the confinement. */
	process->apparmor_profile = process->selinux_label = NULL;
	l->mount_label = NULL;
	l->cgroups_path = NULL;
	l->net_devices.len = 0; /* they are connected as all that is in the network namespace */
	if (l->resources) {
		l->resources = microvm_guest_resources(l->resources, arena);
		if (!l->resources)
			return -ENOMEM;
	}
	r = adjust_mounts(config, arena);
	if (r == 0)
		r = adjust_namespaces(l, arena);
	if (r == 0)
		r = adjust_hostname(config, arena);
	return r < 0 ? r : adjust_hooks(config, arena);
}

int microvm_guest_config(const struct oci_config *config, struct arena *arena, struct strbuf *json,
			 struct error *err)
{
	struct oci_config guest = *config;

	if (adjust(&guest, arena) < 0)
		return error_errno(err, ENOMEM, "adjust the configuration for the microVM");
	return oci_config_print(&guest, json, err);
}
