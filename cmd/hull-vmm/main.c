/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-vmm: hull's virtual machine monitor, one process a machine. It reads no file and no environment for its configuration:
 * the command line is all of it.
 */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "base/message.h"
#include "cmd/hull-vmm/file_server.h"
#include "cmd/hull-vmm/options.h"
#include "cmd/hull-vmm/workload.h"
#include "microvm/control.h"
#include "microvm/jail.h"
#include "microvm/virtio_vsock.h"
#include "microvm/vmm.h"

#define EXIT_USAGE  2
#define DESCRIPTORS (2 * VSOCK_CONNECTIONS_MAX + 256)

struct program {
	struct options options;
	struct kvm kvm;
	struct vmm *vmm;
	struct workload workload;
	struct control control;
	struct loop_source sync; /* to the hull that started us, until it lets us live on */
	struct error failed;     /* why the guest must not run */
};

/* To whoever started us: with one that listens, standard error may be the workload's. */
static void report(const struct options *options, const struct error *err)
{
	if (options->sync < 0 || control_tell(options->sync, err, NULL) < 0)
		log_error("%s", err->text);
}

/* ---- the one who started us ---------------------------------------------------------------------------- */

/* It says that we may outlive it, or it has ended before it could. */
static void on_sync(struct loop_source *source, uint32_t events)
{
	struct program *p = source->data;
	struct message message;

	(void)events;
	if (message_receive(source->fd, &message, NULL, 0, NULL) < 0 ||
	    message.type != CONTROL_COMMIT)
		vmm_end(p->vmm, VMM_END_KILLED, SIGKILL, NULL);
	loop_watch(&p->vmm->loop, source, 0, NULL);
	close_fd(&source->fd);
	p->options.sync = -1;
}

/*
 * The guest has begun. This thread confines itself now, and tells. Until here our life was bound to the other's by a signal at its
 * end, as far as becoming another user did not undo that; from now on by the end of the socket, before which it can say COMMIT.
 */
static void started(void *data)
{
	struct program *p = data;
	int r = 0;

	if (p->options.sync >= 0) {
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
		p->sync = (struct loop_source){ .fd = p->options.sync,
						.callback = on_sync,
						.data = p };
		r = loop_watch(&p->vmm->loop, &p->sync, EPOLLIN, &p->failed);
	}
	if (r == 0 && !p->options.no_jail)
		r = jail_enter_thread(JAIL_DEVICES, &p->failed);
	if (r < 0) {
		report(&p->options, &p->failed);
		vmm_end(p->vmm, VMM_END_KILLED, SIGKILL, NULL);
	} else if (p->options.sync >= 0) {
		control_tell(p->options.sync, NULL, NULL);
	}
}

static int enter_thread(void *data, enum vmm_thread thread, struct error *err)
{
	const struct program *p = data;

	(void)thread;
	return p->options.no_jail ? 0 : jail_enter_thread(JAIL_VCPU, err);
}

static void signalled(void *data, const struct signalfd_siginfo *info)
{
	struct program *p = data;

	workload_signal(&p->workload, info);
}

static int save_workload(void *data, struct snapshot *snapshot, struct error *err)
{
	return workload_save(&((struct program *)data)->workload, snapshot, err);
}

static int hold_workload(void *data, struct error *err)
{
	return workload_hold(&((struct program *)data)->workload, err);
}

static void release_workload(void *data)
{
	workload_release(&((struct program *)data)->workload);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void report_lines(const char *lines)
{
	log_error("the last that the guest wrote to its serial port:");
	while (*lines) {
		int len = (int)strcspn(lines, "\n");

		log_error("| %.*s", len, lines);
		lines += len + (lines[len] == '\n');
	}
}

static int report_ending(const struct program *p, const struct vmm_ending *ending)
{
	bool shown = p->options.config.serial >= 0;

	/* The machine ends after its workload, however it does. */
	if (p->options.workload && p->workload.ended && p->workload.status >= 0)
		return p->workload.status;
	switch (ending->reason) {
	case VMM_END_KILLED:
		return ending->signal ? 128 + ending->signal : EXIT_SUCCESS;
	case VMM_END_CRASH:
		log_error("%s", ending->text);
		if (!shown && ending->lines[0])
			report_lines(ending->lines);
		return p->options.workload ? 255 : EXIT_FAILURE;
	default:
		if (!p->options.workload)
			return EXIT_SUCCESS;
		log_error("the microVM ended before its workload");
		return 255;
	}
}

/* Before the workload was started its creator is the one to tell. */
static void tell_creator(const struct program *p, const struct vmm_ending *ending)
{
	struct error err = { 0 };

	if (!p->options.workload || p->options.sync < 0 || p->workload.ended)
		return;
	error_set(&err, EIO, "%s%s%s",
		  ending->text[0] ? ending->text : "the microVM ended while it was set up",
		  ending->lines[0] ? "; it said last: " : "", ending->lines);
	for (char *c = err.text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	control_tell(p->options.sync, &err, NULL);
}

/* ---- running ------------------------------------------------------------------------------------------- */

static int run(struct program *p, struct vmm_ending *ending, struct error *err)
{
	int r = 0;

	if (p->options.workload)
		r = workload_init(&p->workload, p->vmm, p->options.terminal,
				  take_fd(&p->options.snapshot), &p->control, err);
	if (r == 0 && p->options.control >= 0)
		r = control_open(&p->control, p->vmm, p->options.control, err);
	if (r == 0)
		r = vmm_run(p->vmm, ending, err);
	if (r == 0)
		tell_creator(p, ending);
	if (p->options.control >= 0 && p->control.vmm)
		control_close(&p->control);
	if (p->options.workload && p->workload.vmm)
		workload_free(&p->workload);
	return r;
}

static int enter_jail(struct options *options, struct error *err)
{
	int *sockets = &options->config.vsock_directory;
	bool reopen = options->jail >= 0 && *sockets >= 0;
	int r = jail_enter(options->jail, options->sync >= 0, DESCRIPTORS, err);

	/* A descriptor from before the jail would lead out of it. (Both may be the same one.) */
	if (reopen && *sockets != options->jail)
		close(*sockets);
	close_fd(&options->jail);
	if (!reopen)
		return r;
	*sockets = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && *sockets < 0)
		r = error_errno(err, errno, "open the directory of the vsock's sockets");
	return r;
}

static int make_and_run(struct program *p, struct error *err)
{
	struct vmm_ending ending = { 0 };
	int r = kvm_open(&p->kvm, err);

	if (r < 0)
		return r;
	if (p->options.debug && p->kvm.unfit.code)
		log_warning("%s", p->kvm.unfit.text);
	p->options.config.kvm = &p->kvm;
	p->options.config.hooks = (struct vmm_hooks){
		.enter_thread = enter_thread,
		.started = started,
		.data = p,
	};
	if (p->options.workload) {
		p->options.config.hooks.signalled = signalled;
		p->options.config.hooks.save = save_workload;
		p->options.config.hooks.hold = hold_workload;
		p->options.config.hooks.release = release_workload;
	}
	if (!p->options.no_jail)
		r = enter_jail(&p->options, err);
	if (r < 0)
		return r;
	p->vmm = vmm_new(&p->options.config, err);
	if (!p->vmm)
		return error_negative(err->code);
	r = run(p, &ending, err);
	vmm_free(p->vmm);
	return r < 0 ? r : report_ending(p, &ending);
}

int main(int argc, char **argv)
{
	struct log_config log = { .fd = -1, .level = LOG_LEVEL_WARNING, .program = "hull-vmm" };
	static struct program p;
	struct error err = { 0 };
	int status;

	log_configure(&log);
	/* One heap for all threads: each of its own would cost memory and system calls. */
	mallopt(M_ARENA_MAX, 1);
	if (argc > 1 && !strcmp(argv[1], "--file-server"))
		return file_server_main(argc, argv);
	if (options_parse(&p.options, argc, argv, &err) < 0) {
		report(&p.options, &err);
		return EXIT_USAGE;
	}
	if (p.options.help || p.options.version) {
		if (p.options.help)
			options_help();
		else
			puts("hull-vmm " HULL_VERSION);
		return EXIT_SUCCESS;
	}
	if (p.options.debug) {
		log.level = LOG_LEVEL_DEBUG;
		log_configure(&log);
	}
	status = make_and_run(&p, &err);
	if (status < 0) {
		report(&p.options, &err);
		return EXIT_FAILURE;
	}
	return status;
}
