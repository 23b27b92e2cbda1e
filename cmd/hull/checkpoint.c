/* SPDX-License-Identifier: Apache-2.0 */
/* hull checkpoint, hull checkpoint inspect, and hull restore. */
#include <fcntl.h>
#include <string.h>

#include "base/number.h"
#include "cmd/hull/bundle.h"
#include "cmd/hull/checkpoint.h"
#include "cmd/hull/create.h"
#include "sandbox/manifest.h"

/* ---- words ------------------------------------------------------------------------------------------- */

static int parse_cgroup_mode(const char *text, enum sandbox_cgroup_mode *mode, struct error *err)
{
	static const struct {
		const char *name;
		enum sandbox_cgroup_mode mode;
	} modes[] = { { "soft", CGROUP_MODE_SOFT },
		      { "full", CGROUP_MODE_FULL },
		      { "strict", CGROUP_MODE_STRICT },
		      { "ignore", CGROUP_MODE_IGNORE } };

	*mode = CGROUP_MODE_SOFT;
	for (size_t i = 0; text && i < ARRAY_SIZE(modes); i++)
		if (!strcmp(text, modes[i].name)) {
			*mode = modes[i].mode;
			return 0;
		}
	return !text ? 0
		     : error_set(err, EINVAL,
				 "--manage-cgroups-mode `%s`: must be soft, full, strict or ignore",
				 text);
}

static int parse_network_lock(const char *text, enum sandbox_network_lock *lock, struct error *err)
{
	static const char *const names[] = { [NETWORK_LOCK_IPTABLES] = "iptables",
					     [NETWORK_LOCK_NFTABLES] = "nftables",
					     [NETWORK_LOCK_SKIP] = "skip" };

	for (size_t i = 1; text && i < ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i])) {
			*lock = (enum sandbox_network_lock)i;
			return 0;
		}
	return !text ? 0
		     : error_set(err, EINVAL,
				 "--network-lock `%s`: must be iptables, nftables or skip", text);
}

static int parse_empty_ns(const struct option_strings *names, bool *network, struct error *err)
{
	for (size_t i = 0; i < names->len; i++) {
		if (strcmp(names->items[i], "network") != 0)
			return error_set(
				err, ENOTSUP,
				"--empty-ns `%s`: only that of the network can be left empty",
				names->items[i]);
		*network = true;
	}
	return 0;
}

static int refuse(const struct criu_words *w, struct error *err)
{
	if (w->lazy_pages || w->page_server || w->status_fd)
		return error_set(err, ENOTSUP,
				 "option --%s: memory that is not in the checkpoint's directory is "
				 "not supported",
				 w->lazy_pages    ? "lazy-pages"
				 : w->page_server ? "page-server"
						  : "status-fd");
	if (w->auto_dedup)
		return error_set(err, ENOTSUP,
				 "option --auto-dedup: a checkpoint is not changed once it is "
				 "complete, so its memory cannot be taken out of it");
	return 0;
}

int parse_criu_words(const struct criu_words *w, struct sandbox_criu_options *o, struct error *err)
{
	int r = refuse(w, err);

	if (r == 0)
		r = parse_cgroup_mode(w->cgroup_mode, &o->cgroup_mode, err);
	if (r == 0)
		r = parse_network_lock(w->network_lock, &o->network_lock, err);
	return r < 0 ? r : parse_empty_ns(&w->empty_ns, &o->empty_network, err);
}

/* ---- inspect ------------------------------------------------------------------------------------------ */

static void print_text(const struct manifest *m)
{
	uint64_t total = 0;

	for (size_t i = 0; i < m->files.len; i++)
		total += m->files.items[i].size;
	printf("kind:     %s%s\n", m->kind, m->pre_dump ? ", a pre-dump: memory only" : "");
	printf("id:       %s\n", m->id);
	printf("created:  %s by hull %s, format %llu\n", m->created, m->hull,
	       (unsigned long long)m->format);
	printf("host:     Linux %s, %s, %s\n", m->host->kernel, m->host->machine, m->host->cpu);
	printf("config:   sha256:%s\n", m->config ? m->config : "");
	if (m->parent)
		printf("parent:   %s\n", m->parent);
	if (m->pre_copy)
		printf("pre-copy: %llu rounds, %llu pages were left for the stop\n",
		       (unsigned long long)m->pre_copy->rounds,
		       (unsigned long long)m->pre_copy->pages);
	if (m->image)
		printf("image:    %s, %s\n", m->image->name, m->image->digest);
	for (size_t i = 0; i < m->mounts.len; i++)
		if (m->mounts.items[i].destination[0])
			printf("mount:    %s%s (of the host)\n", m->mounts.items[i].destination,
			       m->mounts.items[i].path);
	for (size_t i = 0; i < m->joined.len; i++)
		printf("joined:   %s namespace\n", m->joined.items[i]);
	printf("files:    %zu, %llu bytes\n", m->files.len, (unsigned long long)total);
	for (size_t i = 0; i < m->files.len; i++)
		printf("  %s %12llu  %s\n", m->files.items[i].sha256,
		       (unsigned long long)m->files.items[i].size, m->files.items[i].name);
}

static int inspect(const char *path, const char *format, struct error *err)
{
	_cleanup_arena_ struct arena arena = { 0 };
	_cleanup_strbuf_ struct strbuf out = { 0 };
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const bool json = format && !strcmp(format, "json");
	struct manifest m;
	int r;

	if (format && !json && strcmp(format, "text") != 0)
		return error_set(err, EINVAL, "--format `%s`: must be text or json", format);
	r = dir < 0 ? error_errno(err, errno, "open it") : manifest_load(dir, &arena, &m, err);
	if (r < 0)
		return error_wrap(err, "checkpoint `%s`", path);
	if (!json) {
		print_text(&m);
		return 0;
	}
	manifest_print(&m, &out);
	if (strbuf_failed(&out))
		return error_errno(err, ENOMEM, "print the manifest");
	fputs(out.data, stdout);
	return 0;
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

#define ROUNDS_DEFAULT 5
#define ROUNDS_MOST    100

/* text: "" without a number; NULL: without the option. */
static int parse_rounds(const char *text, unsigned *rounds, struct error *err)
{
	uint64_t number = ROUNDS_DEFAULT;

	if (!text)
		return 0;
	if (*text && (!parse_u64(text, ROUNDS_MOST, &number) || !number))
		return error_set(err, EINVAL,
				 "--pre-copy `%s`: must be a number of rounds from 1 to %d", text,
				 ROUNDS_MOST);
	*rounds = (unsigned)number;
	return 0;
}

/* data: how many rounds there were. */
static void print_progress(void *data, unsigned round, uint64_t pages)
{
	unsigned *rounds = data;

	if (round)
		fprintf(stderr, "pre-copy, round %u: %llu pages\n", *rounds = round,
			(unsigned long long)pages);
	else
		fprintf(stderr, "pre-copy: after %u rounds %llu pages were left for the stop\n",
			*rounds, (unsigned long long)pages);
}

/* ---- the commands ------------------------------------------------------------------------------------- */

int cmd_checkpoint(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_checkpoint o = { .image_path = NULL };
	struct criu_words w = { .cgroup_mode = NULL };
	const char *format = NULL, *rounds = NULL;
	unsigned rounds_done = 0;
	const struct option options[] = {
		{ "image-path", 0, OPTION_STRING, &o.image_path, "DIR",
		  "the checkpoint's directory (default: checkpoint)" },
		CRIU_OPTIONS(&o.work_path, &o.common, &w),
		{ "parent-path", 0, OPTION_STRING, &o.parent_path, "DIR",
		  "the pre-dump to build on, as seen from --image-path" },
		{ "pre-dump", 0, OPTION_FLAG, &o.pre_dump, NULL,
		  "only copy the memory, while the container runs on" },
		{ "pre-copy", 0, OPTION_OPTIONAL, &rounds, "ROUNDS",
		  "copy the memory while the container runs, at most so often (5),\n"
		  "                              so that it is stopped for what changed last only" },
		{ "leave-running", 'R', OPTION_FLAG, &o.leave_running, NULL,
		  "let the container run on" },
		{ "tcp-skip-in-flight", 0, OPTION_FLAG, &o.tcp_skip_in_flight, NULL,
		  "leave out connections that are being made" },
		{ "link-remap", 0, OPTION_FLAG, &o.link_remap, NULL,
		  "keep open files that have no name any more" },
		{ "format", 'f', OPTION_STRING, &format, "FORMAT", "of inspect: text or json" },
		{ "page-server", 0, OPTION_STRING, &w.page_server, "ADDRESS:PORT",
		  "not supported: the memory is in the checkpoint" },
		{ "status-fd", 0, OPTION_STRING, &w.status_fd, "N",
		  "not supported: it is for --lazy-pages" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"checkpoint",
		"ID | inspect DIR",
		"Make a directory of a running container, of which `hull restore` makes a container again, any\n"
		"number of times. The container has stopped afterwards: `hull delete` removes it. With inspect:\n"
		"print what is in such a directory.",
		"Examples:\n"
		"  hull checkpoint --image-path /var/tmp/demo demo\n"
		"  hull checkpoint --leave-running --tcp-established --image-path /var/tmp/demo demo\n"
		"  hull checkpoint inspect /var/tmp/demo",
		1,
		2
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int words = command_begin(ctx, &usage, options, argc, argv, BEGIN_LOOK, &store, err);
	int r;

	if (words < 0)
		return words;
	if (words == 2 && strcmp(argv[0], "inspect") != 0)
		return wrong_usage(&usage, argv[1], err);
	if (words == 2)
		return inspect(argv[1], format, err);
	r = parse_criu_words(&w, &o.common, err);
	if (r == 0)
		r = parse_rounds(rounds, &o.rounds_max, err);
	/* Who reads the log as JSON from standard error wants nothing else there. */
	if (ctx->log || !ctx->log_format)
		o.progress = print_progress;
	o.progress_data = &rounds_done;
	if (r == 0 && format)
		r = error_set(err, EINVAL, "option --format is for hull checkpoint inspect DIR");
	if (r == 0)
		r = runtime_checkpoint(&store, argv[0], &o, err);
	return r < 0 ? error_wrap(err, "checkpoint") : 0;
}

int cmd_restore(struct context *ctx, int argc, char **argv, struct error *err)
{
	struct runtime_restore o = { .create = { .without_cgroups = ctx->without_cgroups,
						 .systemd_cgroup = ctx->systemd_cgroup } };
	struct criu_words w = { .cgroup_mode = NULL };
	struct bundle_restore bundle = { .ctx = ctx };
	const char *parent;
	const struct option options[] = {
		{ "bundle", 'b', OPTION_STRING, &o.create.bundle, "DIR",
		  "the bundle (default: the working directory, or one is made of the image)" },
		BUNDLE_OPTIONS(&bundle),
		{ "image-path", 0, OPTION_STRING, &o.image_path, "DIR",
		  "the checkpoint's directory (default: checkpoint)" },
		CRIU_OPTIONS(&o.work_path, &o.common, &w),
		{ "parent-path", 0, OPTION_STRING, &parent, "DIR",
		  "without effect: the checkpoint knows what it builds on" },
		{ "tcp-close", 0, OPTION_FLAG, &o.tcp_close, NULL,
		  "restore TCP connections as closed ones" },
		{ "detach", 'd', OPTION_FLAG, &o.detach, NULL, "return once the workload runs" },
		{ "pid-file", 0, OPTION_STRING, &o.create.pid_file, "FILE",
		  "write the process id of the container's init to FILE" },
		{ "console-socket", 0, OPTION_STRING, &o.create.console_socket, "PATH",
		  "a Unix socket that receives the terminal" },
		{ "lsm-profile", 0, OPTION_STRING, &o.lsm_profile, "TYPE:NAME",
		  "another security label: apparmor:PROFILE or selinux:LABEL" },
		{ "lsm-mount-context", 0, OPTION_STRING, &o.lsm_mount_context, "CONTEXT",
		  "another SELinux context of mounts" },
		{ "no-pivot", 0, OPTION_FLAG, &o.create.no_pivot, NULL,
		  "without effect: CRIU enters the root" },
		{ "no-new-keyring", 0, OPTION_FLAG, &o.create.no_new_keyring, NULL,
		  "without effect: CRIU restores no keyring" },
		{ "no-subreaper", 0, OPTION_FLAG, &o.no_subreaper, NULL,
		  "do not adopt orphans of the container" },
		{ .name = NULL },
	};
	const struct usage usage = {
		"restore",
		"ID",
		"Create a container from a checkpoint's directory, which `hull checkpoint` made, and let it go\n"
		"on; wait for its end and delete it, as `hull run` does. The directory stays as it is.",
		"Examples:\n"
		"  hull restore --bundle box --image-path /var/tmp/demo demo\n"
		"  hull restore --detach --bundle box --image-path /var/tmp/demo another",
		1,
		1
	};
	_cleanup_store_ struct store store = { .dir = -EBADF };
	int r = command_begin(ctx, &usage, options, argc, argv, BEGIN_MAKE_STORE, &store, err);

	if (r < 0)
		return r;
	bundle.store = &store;
	o.make_bundle = bundle_restore;
	o.bundle_data = &bundle;
	r = parse_criu_words(&w, &o.common, err);
	if (r == 0)
		r = runtime_restore(&store, argv[0], &o, err);
	return r < 0 ? error_wrap(err, "restore") : o.exit_status;
}
