/* SPDX-License-Identifier: Apache-2.0 */
/* The file server's command line; see file_server.h and microvm/fs_server.h. */
#include "cmd/hull-vmm/file_server.h"

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "microvm/fs_server.h"
#include "microvm/jail.h"

#define EXIT_USAGE 2

enum { OPTION_SOCKET = 1, OPTION_ROOT, OPTION_PROC, OPTION_STATE, OPTION_READ_ONLY };

static const struct option table[] = {
	{ "file-server", required_argument, NULL, OPTION_SOCKET }, /* connected to the monitor */
	{ "root", required_argument, NULL, OPTION_ROOT }, /* directory to serve; else "/" */
	{ "proc", required_argument, NULL, OPTION_PROC }, /* root of a procfs; else it mounts one */
	{ "state", required_argument, NULL, OPTION_STATE }, /* what another one left; else it begins anew */
	{ "read-only", no_argument, NULL, OPTION_READ_ONLY },      { 0 },
};

static int take_inherited(const char *value, int *fd, struct error *err)
{
	uint64_t number;

	if (strncmp(value, "fd:", 3) != 0 || !parse_u64(value + 3, INT32_MAX, &number) ||
	    fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(err, EBADF, "`%s` is no open descriptor, as fd:N", value);
	*fd = (int)number;
	return 0;
}

static int take_option(struct fs_server_config *config, int number, struct error *err)
{
	switch (number) {
	case OPTION_SOCKET:
		return take_inherited(optarg, &config->socket, err);
	case OPTION_ROOT:
		return take_inherited(optarg, &config->root, err);
	case OPTION_PROC:
		return take_inherited(optarg, &config->proc, err);
	case OPTION_STATE:
		return take_inherited(optarg, &config->state, err);
	case OPTION_READ_ONLY:
		config->read_only = true;
		return 0;
	default:
		return error_set(err, EINVAL,
				 "hull-vmm --file-server fd:N [--root fd:N] "
				 "[--proc fd:N] [--state fd:N] [--read-only]");
	}
}

static int confine(void *data, struct error *err)
{
	int r = jail_enter_file_server(err);

	(void)data;
	return r < 0 ? r : jail_enter_thread(JAIL_FILE_SERVER, err);
}

int file_server_main(int argc, char **argv)
{
	struct fs_server_config config = {
		.socket = -1, .root = -1, .proc = -1, .state = -1, .confine = confine
	};
	struct error err = { 0 };
	int number, r = 0;

	opterr = 0;
	while (r == 0 && (number = getopt_long(argc, argv, "+:", table, NULL)) != -1)
		r = take_option(&config, number, &err);
	if (r == 0 && (optind < argc || config.socket < 0))
		r = take_option(&config, 0, &err);
	if (r < 0) {
		log_error("%s", err.text);
		return EXIT_USAGE;
	}
	/* Most of what is allocated is small and comes and goes with the guest's cache. */
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	mallopt(M_MMAP_THRESHOLD, 32 * 1024);
	if (fs_server_main(&config, &err) < 0) {
		log_error("file server: %s", err.text);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
