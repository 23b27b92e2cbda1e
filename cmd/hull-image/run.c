/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-image bundle: the part of `hull run --image` that needs the image store. hull calls it, and people do not: it
 * hands over mounts as descriptors (bundle_reply.h).
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base/bundle_reply.h"
#include "base/file.h"
#include "base/log.h"
#include "base/message.h"
#include "base/number.h"
#include "base/path.h"
#include "cmd/hull-image/command.h"
#include "namespaces/mount_options.h"
#include "namespaces/plan.h"
#include "namespaces/sub_ids.h"
#include "oci/image/config_image.h"
#include "oci/image/run.h"

enum pull { PULL_MISSING, PULL_ALWAYS, PULL_NEVER };

struct bundle {
	struct arguments a;
	struct image_run run;
	const char *image, *state;
	enum pull pull;
	uint64_t reply, user_namespace; /* descriptors, ours and hull's */
	char user_namespace_path[32];   /* hull's */
	struct ns_sub_ids ids;
	const char *userns;          /* "host" or "auto" */
	struct ns_sub_ids pool;      /* auto: of the host's ids */
	struct oci_id_mapping own;   /* auto: the container's, of users and groups alike */
	struct oci_id_mappings owns; /* it alone */
};

/* ---- the command line, which hull has made ---------------------------------------------------- */

enum {
	OPTION_REPLY = 256,
	OPTION_USER_NAMESPACE,
	OPTION_STATE,
	OPTION_STORE,
	OPTION_PULL,
	OPTION_PLAIN_HTTP,
	OPTION_QUIET,
	OPTION_LOG,
	OPTION_LOG_FORMAT,
	OPTION_DEBUG,
	OPTION_NAME,
	OPTION_ENTRYPOINT,
	OPTION_USER,
	OPTION_WORKDIR,
	OPTION_HOSTNAME,
	OPTION_MEMORY,
	OPTION_CPUS,
	OPTION_PIDS_LIMIT,
	OPTION_NETWORK,
	OPTION_TTY,
	OPTION_READ_ONLY,
	OPTION_ENV,
	OPTION_ENV_FILE,
	OPTION_VOLUME,
	OPTION_TMPFS,
	OPTION_CAP_ADD,
	OPTION_CAP_DROP,
	OPTION_ANNOTATION,
	OPTION_SECURITY_OPT,
	OPTION_USERNS,
};

static const struct option options[] = {
	{ "reply", required_argument, NULL, OPTION_REPLY },
	{ "user-namespace", required_argument, NULL, OPTION_USER_NAMESPACE },
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "store", required_argument, NULL, OPTION_STORE },
	{ "pull", required_argument, NULL, OPTION_PULL },
	{ "plain-http", no_argument, NULL, OPTION_PLAIN_HTTP },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ "log", required_argument, NULL, OPTION_LOG },
	{ "log-format", required_argument, NULL, OPTION_LOG_FORMAT },
	{ "debug", no_argument, NULL, OPTION_DEBUG },
	{ "name", required_argument, NULL, OPTION_NAME },
	{ "entrypoint", required_argument, NULL, OPTION_ENTRYPOINT },
	{ "user", required_argument, NULL, OPTION_USER },
	{ "workdir", required_argument, NULL, OPTION_WORKDIR },
	{ "hostname", required_argument, NULL, OPTION_HOSTNAME },
	{ "memory", required_argument, NULL, OPTION_MEMORY },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "pids-limit", required_argument, NULL, OPTION_PIDS_LIMIT },
	{ "network", required_argument, NULL, OPTION_NETWORK },
	{ "tty", no_argument, NULL, OPTION_TTY },
	{ "read-only", no_argument, NULL, OPTION_READ_ONLY },
	{ "env", required_argument, NULL, OPTION_ENV },
	{ "env-file", required_argument, NULL, OPTION_ENV_FILE },
	{ "volume", required_argument, NULL, OPTION_VOLUME },
	{ "tmpfs", required_argument, NULL, OPTION_TMPFS },
	{ "cap-add", required_argument, NULL, OPTION_CAP_ADD },
	{ "cap-drop", required_argument, NULL, OPTION_CAP_DROP },
	{ "annotation", required_argument, NULL, OPTION_ANNOTATION },
	{ "security-opt", required_argument, NULL, OPTION_SECURITY_OPT },
	{ "userns", required_argument, NULL, OPTION_USERNS },
	{ NULL, 0, NULL, 0 },
};

static const char **string_of(struct bundle *b, int option)
{
	switch (option) {
	case OPTION_STATE:
		return &b->state;
	case OPTION_USERNS:
		return &b->userns;
	case OPTION_STORE:
		return &b->a.store;
	case OPTION_LOG:
		return &b->a.log;
	case OPTION_NAME:
		return &b->run.name;
	case OPTION_ENTRYPOINT:
		return &b->run.entrypoint;
	case OPTION_USER:
		return &b->run.user;
	case OPTION_WORKDIR:
		return &b->run.workdir;
	case OPTION_HOSTNAME:
		return &b->run.hostname;
	case OPTION_MEMORY:
		return &b->run.memory;
	case OPTION_CPUS:
		return &b->run.cpus;
	case OPTION_PIDS_LIMIT:
		return &b->run.pids_limit;
	case OPTION_NETWORK:
		return &b->run.network;
	default:
		return NULL;
	}
}

static bool *flag_of(struct bundle *b, int option)
{
	switch (option) {
	case OPTION_PLAIN_HTTP:
		return &b->a.plain_http;
	case OPTION_QUIET:
		return &b->a.quiet;
	case OPTION_DEBUG:
		return &b->a.debug;
	case OPTION_TTY:
		return &b->run.tty;
	case OPTION_READ_ONLY:
		return &b->run.read_only;
	default:
		return NULL;
	}
}

static struct oci_strings *list_of(struct bundle *b, int option)
{
	switch (option) {
	case OPTION_ENV:
		return &b->run.env;
	case OPTION_ENV_FILE:
		return &b->run.env_files;
	case OPTION_VOLUME:
		return &b->run.volumes;
	case OPTION_TMPFS:
		return &b->run.tmpfs;
	case OPTION_CAP_ADD:
		return &b->run.cap_add;
	case OPTION_CAP_DROP:
		return &b->run.cap_drop;
	case OPTION_ANNOTATION:
		return &b->run.annotations;
	case OPTION_SECURITY_OPT:
		return &b->run.security;
	default:
		return NULL;
	}
}

static int parse_pull(const char *text, enum pull *pull, struct error *err)
{
	static const char *const names[] = { "missing", "always", "never" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i])) {
			*pull = (enum pull)i;
			return 0;
		}
	return error_set(err, EINVAL, "option --pull: `%s`: give missing, always or never", text);
}

static int take_option(struct bundle *b, int option, int argc, struct arena *arena,
		       struct error *err)
{
	const char **string = string_of(b, option);
	struct oci_strings *list = list_of(b, option);
	bool *flag = flag_of(b, option);

	if (string) {
		*string = optarg;
	} else if (flag) {
		*flag = true;
	} else if (list) {
		if (!list->items)
			list->items = arena_array(arena, (size_t)argc, sizeof(*list->items));
		if (!list->items)
			return error_errno(err, ENOMEM, "read the options");
		list->items[list->len++] = optarg;
	} else if (option == OPTION_PULL) {
		return parse_pull(optarg, &b->pull, err);
	} else if (option == OPTION_LOG_FORMAT) {
		b->a.log_json = !strcmp(optarg, "json");
	} else if ((option != OPTION_REPLY && option != OPTION_USER_NAMESPACE) ||
		   !parse_u64(optarg, INT_MAX,
			      option == OPTION_REPLY ? &b->reply : &b->user_namespace)) {
		return error_set(err, EINVAL, "hull-image bundle is called by hull, and not so");
	}
	return 0;
}

static int parse(struct bundle *b, int argc, char **argv, struct arena *arena, struct error *err)
{
	int option, r = 0;

	opterr = 0;
	while (r >= 0 && (option = getopt_long(argc, argv, "+", options, NULL)) != -1)
		r = take_option(b, option, argc, arena, err);
	if (r >= 0 && (optind == argc || !b->state || !b->reply || !b->run.name))
		r = error_set(err, EINVAL, "hull-image bundle is called by hull, and not so");
	if (r < 0)
		return r;
	b->image = argv[optind++];
	b->run.command.items = (const char **)(argv + optind);
	b->run.command.len = (size_t)(argc - optind);
	return 0;
}

/* ---- the image -------------------------------------------------------------------------------- */

static int pull(struct bundle *b, struct image_store *store, const char *name,
		struct image_reference *reference, struct error *err)
{
	const struct image_store_pull p = {
		.source = b->image,
		.name = name,
		.plain_http = b->a.plain_http,
		.only_news = true,
	};
	int r = image_store_pull(store, &p, reference, err);

	progress_wipe();
	return r;
}

/* A name is of the store; a source is in there by the name that a pull without one gives it. */
static int find_image(struct bundle *b, struct image_store *store,
		      struct image_reference *reference, struct error *err)
{
	struct image_name name;
	int r;

	if (!is_source(b->image)) {
		r = image_store_resolve(store, b->image, reference, err);
		return r == -ENOENT
			       ? error_set(
					 err, ENOENT,
					 "image `%s` is not in the store; pull it: hull image pull "
					 "SOURCE %s, or give a source, as docker://HOST/NAME",
					 b->image, b->image)
			       : r;
	}
	r = image_name_of_source(b->image, &name, err);
	if (r < 0)
		return r;
	/* What is on this machine can change as it likes, and what has not changed is not copied again. */
	if (b->pull != PULL_NEVER &&
	    (b->pull == PULL_ALWAYS || strncmp(b->image, "docker://", 9) != 0))
		return pull(b, store, name.s, reference, err);
	r = image_store_resolve(store, name.s, reference, err);
	if (r != -ENOENT || b->pull == PULL_NEVER)
		return r;
	return pull(b, store, name.s, reference, err);
}

static int configure(struct bundle *b, const struct image_manifest *manifest,
		     const struct image_store_workload *workload, struct arena *arena,
		     struct error *err)
{
	struct oci_config *config = NULL;
	int r;

	if (workload->first_id) {
		b->own =
			(struct oci_id_mapping){ .host_id = workload->first_id, .size = STORE_IDS };
		b->owns = (struct oci_id_mappings){ &b->own, 1 };
		b->run.uids = b->run.gids = &b->owns;
	}
	r = image_run_config(&b->run, manifest->config, workload->tree, arena, &config, err);
	if (r >= 0)
		r = image_run_fill_tree(&b->run, manifest->config, config, workload->tree, err);
	return r < 0 ? r : image_config_write(config, workload->bundle, 0600, err);
}

/* The tree as the container's own ids see it. */
static int map_tree(struct bundle *b, struct image_store *store,
		    const struct image_reference *reference, const struct image_manifest *manifest,
		    struct image_store_workload *workload, struct error *err)
{
	_cleanup_close_ int ns = -EBADF;

	if (!workload->first_id)
		return 0;
	ns = ns_open_user_namespace(&b->owns, &b->owns, err);
	return ns < 0 ? ns
		      : image_store_map_workload(store, reference, manifest, ns, workload, err);
}

/* ---- ids of its own ---------------------------------------------------------------------------- */

/* The ranges of a user's in such a file, by name. */
static int read_pool(const char *path, struct oci_id_mappings *ranges, struct error *err)
{
	static const char *const owners[] = { "hull", "containers" };
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(AT_FDCWD, path, SUB_IDS_FILE_MAX, &text, err);

	if (len < 0)
		return (int)len;
	for (size_t i = 0; i < ARRAY_SIZE(owners) && !ranges->len; i++)
		ns_sub_ids_parse(text, owners[i], (uid_t)-1, ranges);
	return ranges->len
		       ? 0
		       : error_set(err, ENOENT, "`%s` has no ids for it: add a line as hull:%d:%d",
				   path, 0x10000000, 0x10000000);
}

/* What both files grant. */
static int find_pool(struct bundle *b, struct error *err)
{
	struct oci_id_mapping uid_items[SUB_IDS_MAX + 1], gid_items[SUB_IDS_MAX + 1];
	struct oci_id_mappings uids = { uid_items, 0 }, gids = { gid_items, 0 };
	struct oci_id_mappings *pool = &b->pool.uids;
	int r = read_pool("/etc/subuid", &uids, err);

	if (r >= 0)
		r = read_pool("/etc/subgid", &gids, err);
	*pool = (struct oci_id_mappings){ b->pool.uid_items, 0 };
	for (size_t i = 0; i < uids.len && r >= 0; i++)
		for (size_t k = 0; k < gids.len && pool->len <= SUB_IDS_MAX; k++) {
			uint64_t first = uid_items[i].host_id, other = gid_items[k].host_id;
			uint64_t end = first + uid_items[i].size;

			if (other + gid_items[k].size < end)
				end = other + gid_items[k].size;
			if (first < other)
				first = other;
			if (first < end)
				pool->items[pool->len++] =
					(struct oci_id_mapping){ .host_id = (uint32_t)first,
								 .size = (uint32_t)(end - first) };
		}
	if (r >= 0 && !pool->len)
		r = error_set(err, ENOENT, "`/etc/subuid` and `/etc/subgid` grant no common ids");
	return r;
}

static int choose_user_namespace(struct bundle *b, struct error *err)
{
	int r;

	if (!b->userns || !strcmp(b->userns, "host"))
		return 0;
	if (strcmp(b->userns, "auto") != 0)
		return error_set(err, EINVAL, "option --userns: `%s`: give auto or host",
				 b->userns);
	if (b->a.ids)
		return error_set(err, EINVAL,
				 "option --userns: an ordinary user's containers have the user's "
				 "sub-ids, and no others");
	r = find_pool(b, err);
	return r < 0 ? error_wrap(err, "option --userns auto") : 0;
}

/* Once it is sent, the workload is hull's. */
static int hand_over(const struct bundle *b, const struct image_store_workload *workload,
		     struct error *err)
{
	_cleanup_close_ int user_ns = -EBADF;
	char path[PATH_MAX];
	int fds[3] = { workload->tree, workload->bundle };
	unsigned count = 2;
	ssize_t len;

	if (b->run.user_namespace) {
		fds[count++] = user_ns = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
		if (user_ns < 0)
			return error_errno(err, errno, "open the user namespace");
	}
	len = readlink(path_of_fd(workload->bundle).s, path, sizeof(path));
	if (len < 0 || (size_t)len >= sizeof(path))
		return error_errno(err, len < 0 ? errno : ENAMETOOLONG, "find the bundle");
	return message_send((int)b->reply, BUNDLE_READY, path, (size_t)len, fds, count, err);
}

/* Whoever called us is the only one who wants what we make. A change of credentials ends this, so it is done again. */
static int end_with_hull(struct error *err)
{
	return prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 ? error_errno(err, errno, "prctl") : 0;
}

/* An ordinary user is root of a user namespace, or has no right to mount. */
static int become_root(struct bundle *b, struct error *err)
{
	int r;

	if (geteuid() == 0)
		return 0;
	r = enter_user_namespace(&b->a, &b->ids, err);
	if (r >= 0)
		r = end_with_hull(err);
	if (r < 0)
		return error_wrap(
			err, "an ordinary user's images take sub-ids (or hull image unpack, and "
			     "hull run -b)");
	b->run.rootless = true;
	b->run.uids = &b->ids.uids;
	b->run.gids = &b->ids.gids;
	if (b->user_namespace) {
		snprintf(b->user_namespace_path, sizeof(b->user_namespace_path), "/proc/self/fd/%d",
			 (int)b->user_namespace);
		b->run.user_namespace = b->user_namespace_path;
	}
	return 0;
}

static bool is_known_option(const char *option)
{
	const char *name;

	for (size_t i = 0; (name = mount_option_name(i)); i++)
		if (!strcmp(name, option))
			return true;
	return mount_option_is_idmap(option);
}

static int make_bundle(struct bundle *b, struct arena *arena, struct error *err)
{
	_cleanup_image_store_ struct image_store *store = NULL;
	struct image_store_workload workload;
	struct image_reference reference;
	struct image_manifest manifest;
	int r;

	r = become_root(b, err);
	if (r >= 0)
		r = choose_user_namespace(b, err);
	if (r >= 0)
		r = open_store(&b->a, is_source(b->image) ? IMAGE_STORE_ADD : IMAGE_STORE_USE,
			       &store, err);
	if (r >= 0)
		r = find_image(b, store, &reference, err);
	if (r >= 0)
		r = image_store_load(store, &reference, arena, &manifest, err);
	if (r >= 0)
		r = image_store_workload(store, &reference, &manifest, b->state,
					 b->pool.uids.items ? &b->pool.uids : NULL, &workload, err);
	if (r < 0)
		return r;
	r = configure(b, &manifest, &workload, arena, err);
	if (r >= 0)
		r = map_tree(b, store, &reference, &manifest, &workload, err);
	if (r >= 0)
		r = hand_over(b, &workload, err);
	if (r < 0) {
		image_store_abandon(store, &workload);
		return r;
	}
	close_fd(&workload.tree);
	close_fd(&workload.bundle);
	return 0;
}

int run_bundle(int argc, char **argv)
{
	_cleanup_arena_ struct arena arena;
	_cleanup_close_ int log = -EBADF;
	static const struct command command = { .name = "run", .ids = SUB_IDS_NEEDED };
	struct bundle b = { .a.command = &command, .run.known_option = is_known_option };
	struct error err = { 0 };
	int r;

	arena_init(&arena, IMAGE_ARENA_MAX);
	r = parse(&b, argc, argv, &arena, &err);
	if (r >= 0 && configure_log(&b.a, &log) < 0)
		return 1;
	if (r >= 0)
		r = end_with_hull(&err);
	if (r >= 0) {
		fcntl((int)b.reply, F_SETFD, FD_CLOEXEC);
		/* Directories that layers only imply get 0755, whatever the shell's umask is. */
		umask(022);
		catch_signals();
		progress_init(b.a.quiet, b.a.debug);
		r = make_bundle(&b, &arena, &err);
		progress_wipe();
	}
	if (r >= 0)
		return 0;
	if (!b.reply || caught_signal())
		return report("run", b.a.quiet, &err);
	/* hull prints it, as it does its own. */
	complete_error(&err);
	if (message_send((int)b.reply, BUNDLE_FAILED, &err, sizeof(err), NULL, 0, NULL) < 0)
		return report("run", b.a.quiet, &err);
	return 1;
}
