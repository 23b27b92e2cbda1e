/* SPDX-License-Identifier: Apache-2.0 */
/* hull clone: many containers from one checkpoint. */
#include <string.h>

#include "base/log.h"
#include "cmd/hull/bundle.h"
#include "cmd/hull/checkpoint.h"

#define IDS_MAX 65536

/* "ID=PATH". An id has no "=" in it. */
static int parse_networks(const struct option_strings *words, struct arena *arena,
			  struct runtime_clone *o, struct error *err)
{
	struct runtime_clone_network *list = arena_array(arena, words->len + 1, sizeof(*list));

	if (!list)
		return error_errno(err, ENOMEM, "--netns");
	for (size_t i = 0; i < words->len; i++) {
		const char *equals = strchr(words->items[i], '=');

		if (!equals || equals[1] != '/')
			return error_set(err, EINVAL,
					 "--netns `%s`: must be ID=PATH, with an absolute path",
					 words->items[i]);
		list[i].path = equals + 1;
		list[i].id = arena_printf(arena, "%.*s", (int)(equals - words->items[i]),
					  words->items[i]);
		if (!list[i].id)
			return error_errno(err, ENOMEM, "--netns");
	}
	o->networks = list;
	o->network_count = words->len;
	return 0;
}

/* At once, for whoever waits for the first of many. */
static void done(void *data _unused_, const char *id, const struct error *err)
{
	if (err) {
		log_error("clone `%s`: %s", id, err->text);
		return;
	}
	puts(id);
	fflush(stdout);
}

int cmd_clone(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_clone o = { .restore.create = { .without_cgroups = ctx->without_cgroups,
						       .systemd_cgroup = ctx->systemd_cgroup },
				   .done = done };
	struct runtime_restore *r = &o.restore;
	struct criu_words w = { .cgroup_mode = NULL };
	struct option_strings networks = { .len = 0 };
	struct bundle_restore bundle = { .ctx = ctx };
	const struct option options[] = {
		{ "bundle", 'b', OPTION_STRING, &r->create.bundle, "DIR",
		  "the bundle (default: the working directory, or one is made of the image)" },
		BUNDLE_OPTIONS(&bundle),
		{ "jobs", 'j', OPTION_UNSIGNED, &o.jobs, "N",
		  "make so many at a time (default: as many as there are processors)" },
		{ "layers", 0, OPTION_STRING, &o.layers, "DIR",
		  "where the clones' writable layers are made (default: in the state\n"
		  "                              directories, that is mostly in memory)" },
		{ "keep-hostname", 0, OPTION_FLAG, &o.keep_hostname, NULL,
		  "the host name stays as it was; else it is the id" },
		{ "netns", 0, OPTION_STRINGS, &networks, "ID=PATH",
		  "the network namespace of the clone ID, in the place of the bundle's" },
		CRIU_OPTIONS(&r->work_path, &r->common, &w),
		{ "tcp-close", 0, OPTION_FLAG, &r->tcp_close, NULL,
		  "restore TCP connections as closed ones" },
		{ "pid-file", 0, OPTION_STRING, &r->create.pid_file, "FILE",
		  "with one ID: write the process id of the container's init to FILE" },
		{ "console-socket", 0, OPTION_STRING, &r->create.console_socket, "PATH",
		  "a Unix socket that receives each clone's terminal" },
		{ "lsm-profile", 0, OPTION_STRING, &r->lsm_profile, "TYPE:NAME",
		  "another security label: apparmor:PROFILE or selinux:LABEL" },
		{ "lsm-mount-context", 0, OPTION_STRING, &r->lsm_mount_context, "CONTEXT",
		  "another SELinux context of mounts" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"clone",
		"DIR ID…",
		"Create many containers from one checkpoint's directory, and let them go on. Each has its id as\n"
		"its host name, a machine id, a writable layer and a cgroup of its own; the bundle's root file\n"
		"system stays as it is. Print the id of each as soon as it runs.",
		"Examples:\n"
		"  hull clone --bundle box /var/tmp/demo one two three\n"
		"  hull clone --bundle box --layers /var/tmp/layers /var/tmp/demo $(seq -f worker-%g 100)",
		2,
		IDS_MAX
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	_cleanup_arena_ struct arena arena = { 0 };
	size_t failed = 0;
	int words = command_begin(ctx, &usage, options, argc, argv, BEGIN_MAKE_STORE, &store, err);
	int result;

	if (words < 0)
		return words;
	bundle.store = &store;
	r->make_bundle = bundle_restore;
	r->bundle_data = &bundle;
	r->image_path = argv[0];
	o.ids = (const char *const *)argv + 1;
	o.count = (size_t)words - 1;
	result = parse_criu_words(&w, &r->common, err);
	if (result == 0)
		result = parse_networks(&networks, &arena, &o, err);
	if (result == 0)
		result = runtime_clone(&store, &o, &failed, err);
	return result < 0 ? error_wrap(err, "clone") : failed > 0;
}
