/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone: many containers from one checkpoint. Each is restored by a process of its own, as `hull restore` would; so one that fails
 * undoes what it made and harms no other. What is different is what makes a container itself: where it writes, what it is
 * called, and which network it is in.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/number.h"
#include "base/process.h"
#include "runtime/restore.h"
#include "sandbox/layer.h"

#define HOSTNAME_LEN 64 /* bytes (sethostname(2)) */
#define JOBS_MAX     256
#define LAYER_DIGITS 12

/* ---- the configuration --------------------------------------------------------------------------------- */

static int adapt_hostname(const struct restore_identity *identity, struct oci_config *config)
{
	const struct oci_namespace *uts = oci_namespace_find(config, OCI_NS_UTS);

	if (identity->hostname && uts && !uts->path)
		config->hostname = identity->hostname;
	return 0;
}

static int adapt_network(const struct restore_identity *identity, struct oci_config *config,
			 struct arena *arena, struct error *err)
{
	const struct oci_namespace *found = oci_namespace_find(config, OCI_NS_NETWORK);
	struct oci_namespace *items;
	struct oci_namespaces *list;

	if (!identity->network)
		return 0;
	if (!found || !found->path)
		return error_set(
			err, EINVAL,
			"--netns: the bundle's configuration has no network namespace with a "
			"path, in whose place another could be joined");
	list = &config->linux_->namespaces;
	items = arena_memdup(arena, list->items, list->len * sizeof(*items));
	if (!items)
		return error_errno(err, ENOMEM, "/linux/namespaces");
	items[found - list->items].path = identity->network;
	list->items = items;
	return 0;
}

/* Beside that of the configuration: one cgroup is for one container. */
static int adapt_cgroup(const struct restore_identity *identity, struct oci_config *config,
			struct arena *arena, struct error *err)
{
	const char *path = config->linux_ ? config->linux_->cgroups_path : NULL, *last;

	if (!path || !*path)
		return 0;
	last = strrchr(path, identity->systemd_cgroup ? ':' : '/');
	config->linux_->cgroups_path = arena_printf(
		arena, "%.*s%s", last ? (int)(last + 1 - path) : 0, path, identity->id);
	return config->linux_->cgroups_path ? 0 : error_errno(err, ENOMEM, "/linux/cgroupsPath");
}

int clone_adapt(const void *data, struct oci_config *config, struct arena *arena, struct error *err)
{
	const struct restore_identity *identity = data;
	int r = adapt_hostname(identity, config);

	if (r == 0)
		r = adapt_network(identity, config, arena, err);
	return r < 0 ? r : adapt_cgroup(identity, config, arena, err);
}

/* ---- the writable layer -------------------------------------------------------------------------------- */

int clone_plan_layer(const struct restore_identity *identity, struct container *c,
		     struct error *err)
{
	_cleanup_free_ char *dir = NULL;
	char digits[LAYER_DIGITS + 1];
	int r;

	c->record.layer = STORE_LAYER;
	if (!identity->layers)
		return 0;
	dir = realpath(identity->layers, NULL);
	if (!dir)
		return error_errno(err, errno, "--layers `%s`", identity->layers);
	/* A name that nobody else has: what is recorded is removed in the end, whoever made it. */
	r = random_hex(digits, LAYER_DIGITS, err);
	if (r < 0)
		return r;
	c->record.layer = arena_printf(&c->arena, "%s/%s.%s", dir, c->record.id, digits);
	return c->record.layer ? 0 : error_errno(err, ENOMEM, "--layers");
}

int clone_open_root(const struct container *c, struct error *err)
{
	_cleanup_close_ int dir = -EBADF;

	if (mkdirat(c->dir, c->record.layer, 0700) < 0)
		return error_errno(err, errno, "make the writable layer `%s`", c->record.layer);
	dir = openat(c->dir, c->record.layer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, errno, "open the writable layer `%s`", c->record.layer);
	return layer_open(dir, c->record.rootfs, err);
}

/* ---- before anything is made --------------------------------------------------------------------------- */

static int check_ids(const struct runtime_clone *o, struct error *err)
{
	for (size_t i = 0; i < o->count; i++) {
		int r = store_check_id(o->ids[i], err);

		for (size_t k = 0; r == 0 && k < i; k++)
			if (!strcmp(o->ids[i], o->ids[k]))
				r = error_set(err, EINVAL, "the id `%s` is given twice", o->ids[i]);
		if (r < 0)
			return r;
	}
	if (o->count > 1 && o->restore.create.pid_file)
		return error_set(err, EINVAL, "option --pid-file can be given for one id only");
	return 0;
}

static const char *network_of(const struct runtime_clone *o, const char *id)
{
	for (size_t i = 0; i < o->network_count; i++)
		if (!strcmp(o->networks[i].id, id))
			return o->networks[i].path;
	return NULL;
}

static int check_networks(const struct runtime_clone *o, const struct oci_config *config,
			  struct error *err)
{
	const struct oci_namespace *ns = oci_namespace_find(config, OCI_NS_NETWORK);

	for (size_t i = 0; i < o->network_count; i++) {
		size_t k = 0;

		while (k < o->count && strcmp(o->networks[i].id, o->ids[k]) != 0)
			k++;
		if (k == o->count)
			return error_set(err, EINVAL, "--netns: there is no clone `%s`",
					 o->networks[i].id);
	}
	for (size_t i = 0; ns && ns->path && o->count > 1 && i < o->count; i++)
		if (!network_of(o, o->ids[i]))
			return error_set(
				err, EINVAL,
				"/linux/namespaces: the bundle's configuration names a network "
				"namespace, which clones cannot share: give each its own, as "
				"--netns %s=PATH",
				o->ids[i]);
	return 0;
}

/* The configuration is the bundle's; or of an image's checkpoint, for which a bundle is made, its own. */
static int check_config(const struct runtime_clone *o, const struct restore_source *source,
			struct error *err)
{
	const bool image = source->manifest.image && !o->restore.create.bundle;
	const char *bundle = o->restore.create.bundle ? o->restore.create.bundle : ".";
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_free_ char *json = NULL;
	_cleanup_close_ int dir = image ? -EBADF : open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct oci_config *config;
	size_t len;
	int r;

	if (!image && dir < 0)
		return error_errno(err, errno, "bundle `%s`", bundle);
	r = oci_config_load(image ? source->images : dir, MANIFEST_CONFIG, &arena, &config, &json,
			    &len, err);
	return r < 0 ? r : check_networks(o, config, err);
}

static int check(const struct runtime_clone *o, struct error *err)
{
	int r = check_ids(o, err);

	if (r == 0 && !process_is_host_root())
		r = error_set(err, EPERM,
			      "a clone's writable layer is an overlay, which only root can mount");
	return r;
}

/* ---- in a process of its own --------------------------------------------------------------------------- */

static int clone_one(const struct store *store, const struct runtime_clone *o,
		     const struct restore_source *source, const char *id, struct error *err)
{
	_cleanup_container_ struct container c = { .dir = -EBADF };
	struct runtime_restore restore = o->restore;
	char hostname[HOSTNAME_LEN + 1], work[PATH_MAX];
	struct restore_identity identity = { .id = id,
					     .hostname = o->keep_hostname ? NULL : hostname,
					     .network = network_of(o, id),
					     .layers = o->layers,
					     .systemd_cgroup = restore.create.systemd_cgroup };

	snprintf(hostname, sizeof(hostname), "%.*s", HOSTNAME_LEN, id);
	restore.detach = true;
	restore.identity = &identity;
	/* Each has a log of CRIU's. */
	if (restore.work_path) {
		if ((size_t)snprintf(work, sizeof(work), "%s/%s", restore.work_path, id) >=
		    sizeof(work))
			return error_errno(err, ENAMETOOLONG, "--work-path");
		restore.work_path = work;
	}
	return restore_one(store, id, &restore, source, &c, err);
}

struct job {
	pid_t pid;
	int result; /* the end of a pipe, from which a struct error may come */
	size_t index;
};

struct clones {
	const struct store *store;
	const struct runtime_clone *options;
	const struct restore_source *source;
	struct job jobs[JOBS_MAX];
	size_t running, limit, failed;
};

static void __attribute__((noreturn))
run_job(const struct clones *all, size_t index, int result, pid_t parent)
{
	struct error err = { 0 };
	int r;

	/* Who ends `hull clone` ends what it has not finished; hull-criu notices, and ends what was restored so far. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	r = clone_one(all->store, all->options, all->source, all->options->ids[index], &err);
	if (r < 0 && write(result, &err, sizeof(err)) != (ssize_t)sizeof(err))
		_exit(2);
	_exit(r < 0);
}

static int start_job(struct clones *all, size_t index, struct error *err)
{
	struct job *job = &all->jobs[all->running];
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, errno, "pipe");
	*job = (struct job){ .result = ends[0], .index = index, .pid = fork() };
	if (job->pid == 0)
		run_job(all, index, ends[1], parent);
	close(ends[1]);
	if (job->pid < 0) {
		close(ends[0]);
		return error_errno(err, errno, "fork");
	}
	all->running++;
	return 0;
}

static void report(struct clones *all, size_t index, const struct error *why)
{
	all->failed += why != NULL;
	if (all->options->done)
		all->options->done(all->options->data, all->options->ids[index], why);
}

/* What became of a job, whose end of the pipe is closed or has an error for us. */
static void end_job(struct clones *all, size_t at)
{
	struct job job = all->jobs[at];
	struct error why = { 0 };
	ssize_t n = read(job.result, &why, sizeof(why));
	int status = 0;

	close(job.result);
	process_wait(job.pid, &status);
	all->jobs[at] = all->jobs[--all->running];
	why.text[sizeof(why.text) - 1] = '\0';
	if (n != (ssize_t)sizeof(why) && status)
		error_set(&why, EIO,
			  "the process that restored it ended with status %d: hull delete --force "
			  "removes what is left",
			  process_exit_status(status));
	report(all, job.index, status ? &why : NULL);
}

static void await_job(struct clones *all)
{
	struct pollfd fds[JOBS_MAX];

	for (size_t i = 0; i < all->running; i++)
		fds[i] = (struct pollfd){ .fd = all->jobs[i].result, .events = POLLIN };
	while (poll(fds, all->running, -1) < 0 && errno == EINTR)
		;
	/* From the end: what ends is replaced by the last. */
	for (size_t i = all->running; i-- > 0;)
		if (fds[i].revents)
			end_job(all, i);
}

static size_t job_limit(unsigned wanted)
{
	cpu_set_t cpus;
	size_t limit = wanted;

	if (!limit && sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		limit = (size_t)CPU_COUNT(&cpus);
	return !limit ? 1 : limit < JOBS_MAX ? limit : JOBS_MAX;
}

static void clone_all(struct clones *all)
{
	size_t next = 0;

	while (next < all->options->count || all->running) {
		struct error err = { 0 };

		if (next == all->options->count || all->running == all->limit) {
			await_job(all);
			continue;
		}
		if (start_job(all, next, &err) < 0)
			report(all, next, &err);
		next++;
	}
}

int runtime_clone(const struct store *store, const struct runtime_clone *o, size_t *failed,
		  struct error *err)
{
	struct restore_source source = { .images = -EBADF };
	struct clones all = {
		.store = store, .options = o, .source = &source, .limit = job_limit(o->jobs)
	};
	int r = check(o, err);

	if (r == 0)
		r = restore_source_open(o->restore.image_path, &source, err);
	if (r == 0)
		r = check_config(o, &source, err);
	if (r == 0)
		clone_all(&all);
	*failed = all.failed;
	restore_source_close(&source);
	return r;
}
