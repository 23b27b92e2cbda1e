/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing the command line; see options.h. */
#include "cmd/hull-vmm/options.h"

#include <ctype.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"

enum {
	OPTION_KERNEL = 1,
	OPTION_INITRD,
	OPTION_CMDLINE,
	OPTION_CPUS,
	OPTION_MEMORY,
	OPTION_DISK,
	OPTION_CONSOLE,
	OPTION_SERIAL,
	OPTION_NET,
	OPTION_FS,
	OPTION_VSOCK,
	OPTION_VSOCK_DIR,
	OPTION_WORKLOAD,
	OPTION_SNAPSHOT,
	OPTION_RESTORE,
	OPTION_CONTROL,
	OPTION_SYNC,
	OPTION_JAIL,
	OPTION_NO_JAIL,
	OPTION_DEBUG,
	OPTION_HELP,
	OPTION_VERSION,
};

/* In this order in the help, too. */
static const struct {
	struct option option;
	const char *argument, *help;
} table[] = {
	{ { "kernel", required_argument, NULL, OPTION_KERNEL },
	  "PATH",
	  "the kernel: a 64-bit ELF file, entered by PVH or Linux' 64-bit protocol, or a bzImage" },
	{ { "initrd", required_argument, NULL, OPTION_INITRD }, "PATH", "the initial RAM disk" },
	{ { "cmdline", required_argument, NULL, OPTION_CMDLINE },
	  "TEXT",
	  "the kernel's command line" },
	{ { "cpus", required_argument, NULL, OPTION_CPUS }, "N", "processors (1)" },
	{ { "memory", required_argument, NULL, OPTION_MEMORY }, "MIB", "memory in MiB (128)" },
	{ { "disk", required_argument, NULL, OPTION_DISK },
	  "PATH[,ro][,id=TEXT]",
	  "a disk, from a file or a block device; may be given 8 times" },
	{ { "console", required_argument, NULL, OPTION_CONSOLE },
	  "-|fd:N",
	  "a virtio console, hvc0, on standard input and output or a terminal" },
	{ { "serial", required_argument, NULL, OPTION_SERIAL },
	  "-|fd:N",
	  "where the output of the serial port goes, ttyS0" },
	{ { "net", required_argument, NULL, OPTION_NET },
	  "[fd:N,]mac=MAC[,mtu=N]",
	  "a network card on a tap device, or without one; may be given 8 times" },
	{ { "fs", required_argument, NULL, OPTION_FS },
	  "fd:N,tag=TEXT",
	  "a shared directory: the socket of a hull-vmm --file-server" },
	{ { "vsock", required_argument, NULL, OPTION_VSOCK },
	  "fd:N",
	  "a listening Unix socket for connections to the guest (CONNECT PORT)" },
	{ { "vsock-dir", required_argument, NULL, OPTION_VSOCK_DIR },
	  "PATH",
	  "where the guest's connections go: to the Unix sockets vsock.sock_PORT (with --jail: in that)" },
	{ { "workload", required_argument, NULL, OPTION_WORKLOAD },
	  "pipes|terminal",
	  "hull-guest runs in the guest: standard streams, signals and the end are its container's" },
	{ { "snapshot", required_argument, NULL, OPTION_SNAPSHOT },
	  "fd:N",
	  "an empty file for the machine as it is when hull-guest is up (with --workload)" },
	{ { "restore", required_argument, NULL, OPTION_RESTORE },
	  "PATH",
	  "such a file: an equal machine goes on from there, without a kernel" },
	{ { "control", required_argument, NULL, OPTION_CONTROL },
	  "fd:N",
	  "a listening SOCK_SEQPACKET socket for requests" },
	{ { "sync", required_argument, NULL, OPTION_SYNC },
	  "fd:N",
	  "a connected SOCK_SEQPACKET socket on which the start is reported" },
	{ { "jail", required_argument, NULL, OPTION_JAIL },
	  "PATH",
	  "the directory that becomes the root (an empty one)" },
	{ { "no-jail", no_argument, NULL, OPTION_NO_JAIL },
	  NULL,
	  "confine nothing: for debugging, with guests that are trusted" },
	{ { "debug", no_argument, NULL, OPTION_DEBUG }, NULL, "say more" },
	{ { "help", no_argument, NULL, OPTION_HELP }, NULL, "show this" },
	{ { "version", no_argument, NULL, OPTION_VERSION }, NULL, "show the version" },
};

void options_help(void)
{
	printf("usage: hull-vmm --kernel PATH [OPTION...]\n\n"
	       "Runs one virtual machine and ends with it. hull starts it; it can be tried by hand, too.\n"
	       "A PATH may be fd:N, an open descriptor.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s %s", table[i].option.name,
			 table[i].argument ? table[i].argument : "");
		printf("  %-28s %s\n", left, table[i].help);
	}
	printf("\nhull-vmm --file-server fd:N [--root fd:N] [--proc fd:N] [--state fd:N] [--read-only] is the file server.\n");
	printf("\nIt ends with 0 when the guest switches off or restarts, with 1 when the guest crashes or the\n"
	       "machine cannot be made, with 2 for a wrong option, with 128 + N when the signal N ends it.\n");
}

/* ---- values ------------------------------------------------------------------------------- */

/* The descriptor that "fd:N" names; -1 where it is no such text, or there is none. */
static int inherited(const char *value)
{
	uint64_t number;
	int fd;

	if (strncmp(value, "fd:", 3) || !parse_u64(value + 3, INT32_MAX, &number))
		return -1;
	fd = (int)number;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
}

static int open_path(const char *value, int flags, int *fd, struct error *err)
{
	close_fd(fd);
	if (!strncmp(value, "fd:", 3)) {
		*fd = inherited(value);
		return *fd < 0 ? error_set(err, EBADF, "`%s` is no open descriptor", value) : 0;
	}
	/* O_NONBLOCK: a FIFO in the place of a file must not hang us. */
	*fd = open(value, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return *fd < 0 ? error_errno(err, errno, "open `%s`", value) : 0;
}

static int take_inherited(const char *value, int *fd, struct error *err)
{
	close_fd(fd);
	*fd = inherited(value);
	return *fd < 0 ? error_set(err, EBADF, "`%s` is no open descriptor, as fd:N", value) : 0;
}

/* A copy of ours, so that what is printed later still has a place to go. */
static int take_standard(int number, int *fd, struct error *err)
{
	close_fd(fd);
	*fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
	return *fd < 0 ? error_errno(err, errno, "descriptor %d", number) : 0;
}

static int take_number(const char *value, uint64_t max, uint64_t *number, struct error *err)
{
	if (!parse_u64(value, max, number) || !*number)
		return error_set(err, EINVAL, "`%s` is no number from 1 to %llu", value,
				 (unsigned long long)max);
	return 0;
}

/* PATH, then what is separated by commas. Cuts value into pieces. */
static int add_disk(struct vmm_config *config, char *value, struct error *err)
{
	struct virtio_blk_options *disk;
	char *rest = value, *path = strsep(&rest, ","), *word;

	if (config->disk_count == VMM_DISKS_MAX)
		return error_set(err, E2BIG, "at most %d disks are possible", VMM_DISKS_MAX);
	disk = &config->disks[config->disk_count++];
	*disk = (struct virtio_blk_options){ .fd = -1 };
	while ((word = strsep(&rest, ","))) {
		if (!strcmp(word, "ro"))
			disk->read_only = true;
		else if (!strncmp(word, "id=", 3))
			disk->id = word + 3;
		else
			return error_set(err, EINVAL, "`%s` is no property of a disk", word);
	}
	return open_path(path, disk->read_only ? O_RDONLY : O_RDWR, &disk->fd, err);
}

static int take_console(struct vmm_config *config, const char *value, struct error *err)
{
	int r;

	if (!strcmp(value, "-")) {
		r = take_standard(STDIN_FILENO, &config->console_input, err);
		return r < 0 ? r : take_standard(STDOUT_FILENO, &config->console_output, err);
	}
	r = take_inherited(value, &config->console_output, err);
	config->console_input = config->console_output;
	return r;
}

/* Six pairs of hexadecimal digits, with a colon between them. */
static bool parse_mac(const char *text, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++, text += 3) {
		char digits[3] = { text[0], text[0] ? text[1] : '\0' }, *end;

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) ||
		    text[2] != (i < 5 ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)strtoul(digits, &end, 16);
	}
	return !(mac[0] & 1); /* not one of many's */
}

static int add_card(struct vmm_config *config, char *value, struct error *err)
{
	struct virtio_net_options *card;
	char *rest = value, *word;
	bool has_mac = false;
	uint64_t mtu;

	if (config->card_count == VMM_CARDS_MAX)
		return error_set(err, E2BIG, "at most %d network cards are possible",
				 VMM_CARDS_MAX);
	card = &config->cards[config->card_count++];
	*card = (struct virtio_net_options){ .tap = -1 };
	while ((word = strsep(&rest, ","))) {
		int r = 0;

		if (!strncmp(word, "fd:", 3))
			r = take_inherited(word, &card->tap, err);
		else if (!strncmp(word, "mac=", 4) && parse_mac(word + 4, card->mac))
			has_mac = true;
		else if (!strncmp(word, "mtu=", 4) && parse_u64(word + 4, UINT16_MAX, &mtu))
			card->mtu = (uint16_t)mtu;
		else
			r = error_set(err, EINVAL, "`%s` is no property of a network card", word);
		if (r < 0)
			return r;
	}
	return has_mac ? 0 : error_set(err, EINVAL, "a network card needs mac=MAC");
}

static int take_file_server(struct vmm_config *config, char *value, struct error *err)
{
	char *rest = value, *fd = strsep(&rest, ",");

	if (!rest || strncmp(rest, "tag=", 4) || !rest[4])
		return error_set(err, EINVAL, "`%s`: must be fd:N,tag=TEXT", value);
	config->fs_tag = rest + 4;
	return take_inherited(fd, &config->file_server, err);
}

static int take_option(struct options *options, int number, char *value, struct error *err)
{
	struct vmm_config *config = &options->config;
	uint64_t amount = 0;
	int r;

	switch (number) {
	case OPTION_KERNEL:
		return open_path(value, O_RDONLY, &config->kernel, err);
	case OPTION_INITRD:
		return open_path(value, O_RDONLY, &config->initrd, err);
	case OPTION_CMDLINE:
		config->cmdline = value;
		return 0;
	case OPTION_CPUS:
		r = take_number(value, LAYOUT_CPUS_MAX, &amount, err);
		config->cpus = (unsigned)amount;
		return r;
	case OPTION_MEMORY:
		r = take_number(value, UINT64_C(1) << 26, &amount, err);
		config->memory = amount << 20;
		return r;
	case OPTION_DISK:
		return add_disk(config, value, err);
	case OPTION_CONSOLE:
		return take_console(config, value, err);
	case OPTION_SERIAL:
		return strcmp(value, "-") ? take_inherited(value, &config->serial, err)
					  : take_standard(STDOUT_FILENO, &config->serial, err);
	case OPTION_NET:
		return add_card(config, value, err);
	case OPTION_FS:
		return take_file_server(config, value, err);
	case OPTION_VSOCK:
		config->vsock = true;
		return take_inherited(value, &config->vsock_listener, err);
	case OPTION_VSOCK_DIR:
		config->vsock = true;
		return open_path(value, O_PATH | O_DIRECTORY, &config->vsock_directory, err);
	case OPTION_WORKLOAD:
		options->workload = true;
		options->terminal = !strcmp(value, "terminal");
		return options->terminal || !strcmp(value, "pipes")
			       ? 0
			       : error_set(err, EINVAL, "`%s`: must be pipes or terminal", value);
	case OPTION_SNAPSHOT:
		return take_inherited(value, &options->snapshot, err);
	case OPTION_RESTORE:
		return open_path(value, O_RDONLY, &config->restore, err);
	case OPTION_JAIL:
		return open_path(value, O_PATH | O_DIRECTORY, &options->jail, err);
	case OPTION_NO_JAIL:
		options->no_jail = true;
		return 0;
	case OPTION_CONTROL:
		return take_inherited(value, &options->control, err);
	case OPTION_SYNC:
		return take_inherited(value, &options->sync, err);
	case OPTION_DEBUG:
		options->debug = true;
		return 0;
	case OPTION_HELP:
		options->help = true;
		return 0;
	default:
		options->version = true;
		return 0;
	}
}

int options_parse(struct options *options, int argc, char **argv, struct error *err)
{
	struct option all[ARRAY_SIZE(table) + 1] = { 0 };
	int number, index, r = 0;

	*options = (struct options){ .control = -1, .sync = -1, .jail = -1, .snapshot = -1 };
	vmm_config_init(&options->config);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		all[i] = table[i].option;
	opterr = 0;
	while (r == 0 && (number = getopt_long(argc, argv, "+:", all, &index)) != -1) {
		if (number == '?')
			return error_set(err, EINVAL, "unknown option `%s` (see hull-vmm --help)",
					 argv[optind - 1]);
		if (number == ':')
			return error_set(err, EINVAL, "option `%s` needs a value",
					 argv[optind - 1]);
		r = take_option(options, number, optarg, err);
		if (r < 0)
			error_wrap(err, "--%s", all[index].name);
	}
	if (r == 0 && optind < argc)
		return error_set(err, EINVAL, "`%s` is no option", argv[optind]);
	if (r == 0 && options->config.kernel < 0 && options->config.restore < 0 && !options->help &&
	    !options->version)
		return error_set(err, EINVAL, "there is no kernel: --kernel PATH");
	return r;
}
