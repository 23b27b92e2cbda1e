/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hull-vmm: hull's virtual machine monitor, one process a machine. It reads no file and no environment for its configuration:
 * the command line is all of it.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cmd/hull-vmm/file_server.h"
#include "cmd/hull-vmm/options.h"
#include "microvm/control.h"
#include "microvm/vmm.h"

#define EXIT_USAGE 2

/* To whoever started us: with one that listens, standard error may be the workload's. */
static void report(const struct options *options, const struct error *err)
{
	if (options->sync < 0 || control_tell(options->sync, err, NULL) < 0)
		log_error("%s", err->text);
}

static void started(void *data)
{
	struct options *options = data;

	if (options->sync >= 0)
		control_tell(options->sync, NULL, NULL);
	close_fd(&options->sync);
}

static int report_ending(const struct vmm_ending *ending, bool shown)
{
	switch (ending->reason) {
	case VMM_END_KILLED:
		return ending->signal ? 128 + ending->signal : EXIT_SUCCESS;
	case VMM_END_CRASH:
		log_error("%s", ending->text);
		if (!shown && ending->lines[0])
			log_error("the last that the guest wrote to its serial port:\n%s",
				  ending->lines);
		return EXIT_FAILURE;
	default:
		return EXIT_SUCCESS;
	}
}

/* Runs the machine that is made. Returns the exit status. */
static int run(struct vmm *vmm, const struct options *options)
{
	struct control control;
	struct vmm_ending ending;
	struct error err = { 0 };
	int r = 0;

	if (options->control >= 0)
		r = control_open(&control, vmm, options->control, &err);
	if (r == 0)
		r = vmm_run(vmm, &ending, &err);
	if (options->control >= 0)
		control_close(&control);
	if (r < 0) {
		report(options, &err);
		return EXIT_FAILURE;
	}
	return report_ending(&ending, options->config.serial >= 0);
}

int main(int argc, char **argv)
{
	struct log_config log = { .fd = -1, .level = LOG_LEVEL_WARNING, .program = "hull-vmm" };
	struct options options;
	struct error err = { 0 };
	struct vmm *vmm;
	int status;

	/* One heap for all threads: they allocate next to nothing, and each heap costs its thread five system calls. */
	mallopt(M_ARENA_MAX, 1);
	log_configure(&log);
	if (argc > 1 && !strcmp(argv[1], "--file-server"))
		return file_server_main(argc, argv);
	if (options_parse(&options, argc, argv, &err) < 0) {
		report(&options, &err);
		return EXIT_USAGE;
	}
	if (options.help || options.version) {
		if (options.help)
			options_help();
		else
			puts("hull-vmm " HULL_VERSION);
		return EXIT_SUCCESS;
	}
	if (options.debug) {
		log.level = LOG_LEVEL_DEBUG;
		log_configure(&log);
		if (kvm_runs_kernels(&err) < 0)
			log_warning("%s", err.text);
		error_clear(&err);
	}
	options.config.hooks = (struct vmm_hooks){ .started = started, .data = &options };
	vmm = vmm_new(&options.config, &err);
	if (!vmm) {
		report(&options, &err);
		return EXIT_FAILURE;
	}
	status = run(vmm, &options);
	vmm_free(vmm);
	return status;
}
