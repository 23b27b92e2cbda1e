/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-image bundle: the part of `hull run --image` that needs the image store. hull calls it, and people do not: it
 * hands over mounts as descriptors (bundle_reply.h).
 */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
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
	uint64_t checkpoint; /* and of a checkpoint's directory, of the image with this digest */
	const char *digest;
	char user_namespace_path[32]; /* hull's */
	struct ns_sub_ids ids;
	const char *userns;          /* "host" or "auto" */
	struct ns_sub_ids pool;      /* auto: of the host's ids */
	struct oci_id_mapping own;   /* auto: the container's, of users and groups alike */
	struct oci_id_mappings owns; /* it alone */
};

/* ---- the command line, which hull has made ---------------------------------------------------- */

/* What an option's value becomes, and of which member. */
static const struct item {
	const char *name;
	enum { STRING, FLAG, LIST, NUMBER, PULL, LOG_FORMAT } kind;
	size_t member;
} items[] = {
	{ "reply", NUMBER, offsetof(struct bundle, reply) },
	{ "user-namespace", NUMBER, offsetof(struct bundle, user_namespace) },
	{ "checkpoint", NUMBER, offsetof(struct bundle, checkpoint) },
	{ "digest", STRING, offsetof(struct bundle, digest) },
	{ "state", STRING, offsetof(struct bundle, state) },
	{ "store", STRING, offsetof(struct bundle, a.store) },
	{ "pull", PULL, offsetof(struct bundle, pull) },
	{ "plain-http", FLAG, offsetof(struct bundle, a.plain_http) },
	{ "quiet", FLAG, offsetof(struct bundle, a.quiet) },
	{ "log", STRING, offsetof(struct bundle, a.log) },
	{ "log-format", LOG_FORMAT, offsetof(struct bundle, a.log_json) },
	{ "debug", FLAG, offsetof(struct bundle, a.debug) },
	{ "name", STRING, offsetof(struct bundle, run.name) },
	{ "entrypoint", STRING, offsetof(struct bundle, run.entrypoint) },
	{ "user", STRING, offsetof(struct bundle, run.user) },
	{ "workdir", STRING, offsetof(struct bundle, run.workdir) },
	{ "hostname", STRING, offsetof(struct bundle, run.hostname) },
	{ "memory", STRING, offsetof(struct bundle, run.memory) },
	{ "cpus", STRING, offsetof(struct bundle, run.cpus) },
	{ "pids-limit", STRING, offsetof(struct bundle, run.pids_limit) },
	{ "network", STRING, offsetof(struct bundle, run.network) },
	{ "tty", FLAG, offsetof(struct bundle, run.tty) },
	{ "read-only", FLAG, offsetof(struct bundle, run.read_only) },
	{ "env", LIST, offsetof(struct bundle, run.env) },
	{ "env-file", LIST, offsetof(struct bundle, run.env_files) },
	{ "volume", LIST, offsetof(struct bundle, run.volumes) },
	{ "tmpfs", LIST, offsetof(struct bundle, run.tmpfs) },
	{ "cap-add", LIST, offsetof(struct bundle, run.cap_add) },
	{ "cap-drop", LIST, offsetof(struct bundle, run.cap_drop) },
	{ "annotation", LIST, offsetof(struct bundle, run.annotations) },
	{ "security-opt", LIST, offsetof(struct bundle, run.security) },
	{ "userns", STRING, offsetof(struct bundle, userns) },
};

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

static const char called_wrongly[] = "hull-image bundle is called by hull, and not so";

static int take_option(struct bundle *b, const struct item *item, int argc, struct arena *arena,
		       struct error *err)
{
	void *member = (char *)b + item->member;
	struct oci_strings *list = member;

	switch (item->kind) {
	case STRING:
		*(const char **)member = optarg;
		return 0;
	case FLAG:
		*(bool *)member = true;
		return 0;
	case LIST:
		if (!list->items)
			list->items = arena_array(arena, (size_t)argc, sizeof(*list->items));
		if (!list->items)
			return error_errno(err, ENOMEM, "read the options");
		list->items[list->len++] = optarg;
		return 0;
	case NUMBER:
		return parse_u64(optarg, INT_MAX, member)
			       ? 0
			       : error_set(err, EINVAL, "%s", called_wrongly);
	case PULL:
		return parse_pull(optarg, member, err);
	case LOG_FORMAT:
		*(bool *)member = !strcmp(optarg, "json");
		return 0;
	}
	return 0;
}

static int parse(struct bundle *b, int argc, char **argv, struct arena *arena, struct error *err)
{
	struct option options[ARRAY_SIZE(items) + 1] = { { .name = NULL } };
	int option, found = -1, r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		options[i] = (struct option){
			.name = items[i].name,
			.has_arg = items[i].kind == FLAG ? no_argument : required_argument,
		};
	opterr = 0;
	while (r >= 0 && (option = getopt_long(argc, argv, "+", options, &found)) != -1)
		r = option ? error_set(err, EINVAL, "%s", called_wrongly)
			   : take_option(b, &items[found], argc, arena, err);
	if (r >= 0 && (optind == argc || !b->state || !b->reply || !b->run.name))
		r = error_set(err, EINVAL, "%s", called_wrongly);
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

/* By its digest: the name may be another image's by now. */
static int find_by_digest(const struct bundle *b, struct image_store *store,
			  struct image_reference *reference, struct error *err)
{
	struct image_reference *all = NULL;
	struct digest wanted;
	size_t count = 0;
	int r = digest_parse(b->digest, &wanted, err);

	if (r >= 0)
		r = image_store_list(store, &all, &count, err);
	for (size_t i = 0; i < count; i++)
		if (r >= 0 && digest_equal(&all[i].manifest.digest, &wanted)) {
			*reference = all[i];
			reference->manifest.media_type = reference->media_type;
			free(all);
			return 0;
		}
	free(all);
	return r < 0 ? r
		     : error_set(err, ENOENT,
				 "the checkpoint is of the image `%s` with the digest %s, which is "
				 "not in the store: pull it (hull image pull SOURCE %s)",
				 b->image, b->digest, b->image);
}

/* A name is of the store; a source is in there by the name that a pull without one gives it. */
static int find_image(struct bundle *b, struct image_store *store,
		      struct image_reference *reference, struct error *err)
{
	struct image_name name;
	int r;

	if (b->digest)
		return find_by_digest(b, store, reference, err);
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

	if (b->digest)
		return restore_workload((int)b->checkpoint, workload, err);
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
		r = open_store(&b->a,
			       is_source(b->image) && !b->digest ? IMAGE_STORE_ADD
								 : IMAGE_STORE_USE,
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
