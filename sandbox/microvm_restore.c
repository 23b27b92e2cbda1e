/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of a checkpoint's directory: it goes on where it was saved, with a new host side around it. The workload in it is frozen
 * until hull-guest knows when it is and who it is now.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "microvm/snapshot.h"
#include "microvm/vmm.h"
#include "sandbox/manifest.h"
#include "sandbox/microvm.h"

static bool has_limit(const struct oci_config *config)
{
	const struct oci_resources *resources = config->linux_->resources;

	return resources && resources->memory && resources->memory->limit.set &&
	       resources->memory->limit.v > 0;
}

int microvm_plan_saved(struct microvm_plan *plan, struct error *err)
{
	struct snapshot_header header;
	int r = snapshot_read_header(plan->saved.machine, &header, err);

	if (r < 0)
		return error_wrap(err, "`" MICROVM_MACHINE "`");
	if (header.cards > VMM_CARDS_MAX)
		return error_set(err, EBADMSG, "`" MICROVM_MACHINE "`: a machine has no %u cards",
				 header.cards);
	if (plan->cards > header.cards)
		return error_set(err, EINVAL,
				 "the network namespace has %u interfaces, and the checkpoint's "
				 "machine had %u cards",
				 plan->cards, header.cards);
	/* The cgroup on the host is made for what the machine has: that is not for the checkpoint to say. */
	if (has_limit(plan->sb->config) && header.memory_size >> 20 > plan->machine.memory_mib)
		return error_set(err, EINVAL,
				 "/linux/resources/memory/limit: the checkpoint's machine has "
				 "%llu MiB of memory, and the limit allows %llu",
				 (unsigned long long)header.memory_size >> 20,
				 (unsigned long long)plan->machine.memory_mib);
	plan->cards = header.cards;
	plan->machine.cpus = header.cpus;
	plan->machine.memory_mib = header.memory_size >> 20;
	return 0;
}

/* What of the host the machine had, it finds again in the same place. */
static int check_mounts(const struct sandbox *sb, const struct manifest_mounts *then,
			struct error *err)
{
	const struct oci_mounts *now = &sb->config->mounts;
	size_t k = 0;

	for (size_t i = 0; i < now->len; i++) {
		char key[32];

		if (!microvm_is_shared(&now->items[i]))
			continue;
		snprintf(key, sizeof(key), "hull-mount-%zu", i);
		if (k == then->len || strcmp(then->items[k].key, key) != 0 ||
		    strcmp(then->items[k].destination, now->items[i].destination) != 0)
			return error_set(err, EINVAL,
					 "/mounts/%zu: the checkpoint's machine had no bind mount "
					 "on `%s` here",
					 i, now->items[i].destination);
		k++;
	}
	return k == then->len ? 0
			      : error_set(err, EINVAL,
					  "/mounts: the checkpoint's machine had a bind mount on "
					  "`%s`, which this bundle's configuration has not",
					  then->items[k].destination);
}

static int open_file(int dir, const char *name, struct error *err)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return fd < 0 ? error_errno(err, errno, "open `%s` of the checkpoint", name) : fd;
}

static int open_saved(struct microvm_plan *plan, int images, const struct oci_strings *stdio,
		      struct error *err)
{
	for (size_t i = 0; i < stdio->len && i < ARRAY_SIZE(plan->saved.null); i++)
		plan->saved.null[i] = !strcmp(stdio->items[i], "/dev/null");
	plan->saved.machine = open_file(images, MICROVM_MACHINE, err);
	if (plan->saved.machine < 0)
		return plan->saved.machine;
	plan->saved.files = open_file(images, MICROVM_FILES, err);
	return plan->saved.files < 0 ? plan->saved.files : 0;
}

static int fill(const struct sandbox *sb, const struct sandbox_restore *restore,
		struct agent_restored *restored, struct error *err)
{
	*restored = (struct agent_restored){ .network_len = 0 };
	if (getrandom(restored->seed, sizeof(restored->seed), 0) != sizeof(restored->seed))
		return error_errno(err, errno, "getrandom");
	snprintf(restored->id, sizeof(restored->id), "%s", sb->id);
	if (!restore->hostname)
		return 0;
	if (strlen(restore->hostname) >= sizeof(restored->hostname))
		return error_set(err, ENAMETOOLONG, "the host name `%s` is too long",
				 restore->hostname);
	snprintf(restored->hostname, sizeof(restored->hostname), "%s", restore->hostname);
	return 0;
}

/* The workload goes on with this. */
static int tell_guest(struct microvm_plan *plan, const struct sandbox_restore *restore,
		      struct error *err)
{
	_cleanup_strbuf_ struct strbuf network = { 0 };
	_cleanup_close_ int sock = -EBADF;
	struct agent_restored restored;
	struct iovec parts[2] = { { &restored, sizeof(restored) } };
	int r = fill(plan->sb, restore, &restored, err);

	if (r == 0)
		r = microvm_connect_network(plan->sb, &network, err);
	if (r < 0)
		return r;
	sock = microvm_connect(plan->dir, AGENT_PORT, MICROVM_BOOT_TIME, err);
	if (sock < 0)
		return sock == -ESRCH || sock == -EPIPE ? microvm_ended(plan->sb, err) : sock;
	restored.network_len = (uint32_t)network.len;
	parts[1] = (struct iovec){ network.data, network.len };
	restored.time_ns = microvm_now_ns();
	r = agent_sendv(sock, AGENT_RESTORED, parts, ARRAY_SIZE(parts), err);
	if (r == 0)
		r = (int)agent_receive_answer(sock, NULL, NULL, AGENT_PAYLOAD_MAX, NULL, err);
	return r == -EPIPE ? microvm_ended(plan->sb, err) : r;
}

int microvm_restore(struct sandbox *sb, const struct sandbox_hooks *hooks,
		    const struct sandbox_io *io, const struct sandbox_restore *restore,
		    struct error *err)
{
	struct microvm_plan plan;
	int r;

	microvm_plan_init(&plan, sb, hooks);
	r = check_mounts(sb, &restore->manifest->mounts, err);
	if (r == 0)
		r = open_saved(&plan, restore->images, &restore->manifest->stdio, err);
	if (r == 0)
		r = microvm_plan_open(&plan, io, err);
	if (r == 0)
		r = microvm_make_machine(&plan, err);
	if (r == 0)
		r = restore->restored(restore->data, err);
	if (r == 0)
		r = tell_guest(&plan, restore, err);
	if (r == 0)
		r = microvm_commit(sb, err);
	microvm_settle(&plan, r < 0);
	return r;
}
