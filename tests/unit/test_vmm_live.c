/* SPDX-License-Identifier: Apache-2.0 */
/* Whole machines in this process, with the small kernel of tests/guests. Where there is no KVM, nothing is tested. */
#include "tests/unit/unit.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/message.h"
#include "microvm/boot.h"
#include "microvm/control.h"
#include "microvm/snapshot.h"
#include "microvm/vmm.h"

static void need_kvm(void)
{
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		print_message("no /dev/kvm\n");
		skip();
	}
}

static int open_guest(const char *name)
{
	const char *build = getenv("HULL_BUILD");
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/guests/%s", build ? build : "build", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s is not built", path);
	return fd;
}

static struct vmm_config make_config(const char *letters)
{
	struct vmm_config config;

	need_kvm();
	vmm_config_init(&config);
	config.kernel = open_guest("guest-pvh");
	config.cmdline = letters;
	config.memory = UINT64_C(16) << 20;
	return config;
}

static struct vmm *make_vmm(const struct vmm_config *config)
{
	struct error err = { 0 };
	struct vmm *vmm = vmm_new(config, &err);

	if (!vmm)
		fail_msg("%s", err.text);
	return vmm;
}

static struct vmm_ending run(struct vmm *vmm)
{
	struct vmm_ending ending;
	struct error err = { 0 };

	if (vmm_run(vmm, &ending, &err) < 0)
		fail_msg("%s", err.text);
	return ending;
}

/* Has step called in the device thread every millisecond. */
struct ticker {
	struct loop_source source;
	struct vmm *vmm;
	unsigned steps;
	uint64_t written;
};

static void start_ticker(struct ticker *t, struct vmm *vmm, loop_callback *step)
{
	struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };

	*t = (struct ticker){
		.source = { .fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
			    .callback = step,
			    .data = t },
		.vmm = vmm,
	};
	assert_int_equal(timerfd_settime(t->source.fd, 0, &every, NULL), 0);
	assert_int_equal(loop_watch(&vmm->loop, &t->source, EPOLLIN, NULL), 0);
}

static struct ticker *tick(struct loop_source *source)
{
	uint64_t value;

	assert_int_equal(read(source->fd, &value, sizeof(value)), sizeof(value));
	return source->data;
}

static void stop_ticker(struct ticker *t)
{
	loop_watch(&t->vmm->loop, &t->source, 0, NULL);
	close(t->source.fd);
}

/* ---- ends --------------------------------------------------------------------------------- */

static void machines_end_as_they_say(void **state)
{
	static const struct {
		const char *letters;
		enum vmm_end_reason reason;
		const char *text, *lines;
	} cases[] = {
		{ "hp", VMM_END_POWEROFF, "", "hello\n" },
		{ "ha", VMM_END_RESET, "", "hello\n" },
		{ "hr", VMM_END_RESET, "", "hello\n" },
		{ "t", VMM_END_CRASH, "processor 0: triple fault", "" },
		{ "k", VMM_END_CRASH, "the guest's kernel panicked: this is a test",
		  "Kernel panic - not syncing: this is a test\nCPU: 0\n" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmm_config config = make_config(cases[i].letters);
		struct vmm *vmm = make_vmm(&config);
		struct vmm_ending ending = run(vmm);

		assert_int_equal(ending.reason, cases[i].reason);
		assert_memory_equal(ending.text, cases[i].text, strlen(cases[i].text));
		assert_string_equal(ending.lines, cases[i].lines);
		vmm_free(vmm);
	}
}

/* A bzImage of the small kernel: its 64-bit entry point is a jump to where that is. */
static int make_bzimage(void)
{
	static const uint8_t jump[] = { 0xe9, 0xfb, 0x0d, 0, 0 }; /* from 0x200 to 0x1000 */
	struct setup_header header = {
		.setup_sects = 1,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = 2047,
		.pref_address = UINT64_C(8) << 20,
	};
	int elf = open_guest("guest-linux"), bz = memfd_create("bzImage", MFD_CLOEXEC);
	uint8_t code[8192];
	Elf64_Phdr segment;

	assert_int_equal(pread(elf, &segment, sizeof(segment), sizeof(Elf64_Ehdr)),
			 sizeof(segment));
	assert_int_equal(segment.p_type, PT_LOAD);
	assert_in_range(segment.p_filesz, 1, sizeof(code));
	assert_int_equal(pread(elf, code, segment.p_filesz, (off_t)segment.p_offset),
			 segment.p_filesz);
	header.syssize = (uint32_t)(0x1000 + segment.p_filesz + 15) / 16;
	header.init_size = (uint32_t)(0x1000 + segment.p_memsz);
	assert_int_equal(pwrite(bz, &header, sizeof(header), 0x1f1), sizeof(header));
	assert_int_equal(pwrite(bz, jump, sizeof(jump), 1024 + 0x200), sizeof(jump));
	assert_int_equal(pwrite(bz, code, segment.p_filesz, 1024 + 0x1000), segment.p_filesz);
	close(elf);
	return bz;
}

static void bzimages_run(void **state)
{
	struct vmm_config config = make_config("emvcp and the rest");
	struct vmm_ending ending;
	struct vmm *vmm;

	(void)state;
	close(config.kernel);
	config.kernel = make_bzimage();
	vmm = make_vmm(&config);
	ending = run(vmm);
	assert_int_equal(ending.reason, VMM_END_POWEROFF);
	assert_string_equal(ending.lines, "linux\nram 16\nvirt 4\np and the rest\n");
	vmm_free(vmm);
}

static void machines_that_never_ran_go_away(void **state)
{
	struct vmm_config config = make_config("s");
	sigset_t before, after;

	(void)state;
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	config.cpus = 3;
	vmm_free(make_vmm(&config));
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}

static void wrong_machines_are_refused(void **state)
{
	struct vmm_config config;
	struct error err = { 0 };
	int fd;

	(void)state;
	config = make_config("p");
	config.cpus = 0;
	assert_null(vmm_new(&config, &err));
	assert_string_equal(err.text, "a machine has 1 to 254 processors, not 0");
	config = make_config("p");
	config.cpus = 255;
	assert_null(vmm_new(&config, &err));
	config = make_config("p");
	config.memory = 1 << 20;
	assert_null(vmm_new(&config, &err));
	assert_string_equal(err.text, "a machine has at least 2 MiB of memory");
	config = make_config("p");
	config.memory += 1;
	assert_null(vmm_new(&config, &err));
	/* What was passed is gone. */
	config = make_config("p");
	fd = config.kernel;
	close(fd);
	config.kernel = -1;
	config.serial = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	fd = config.serial;
	assert_null(vmm_new(&config, &err));
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static int refuse_thread(void *data, enum vmm_thread thread, struct error *err)
{
	(void)data;
	assert_int_equal(thread, VMM_THREAD_VCPU);
	return error_set(err, EPERM, "no jail for it");
}

static int accept_thread(void *data, enum vmm_thread thread, struct error *err)
{
	(void)thread;
	(void)err;
	__atomic_add_fetch((unsigned *)data, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void threads_confine_themselves_before_the_guest(void **state)
{
	struct vmm_config config = make_config("hp");
	struct vmm_ending ending;
	unsigned threads = 0;
	struct vmm *vmm;

	(void)state;
	config.hooks.enter_thread = refuse_thread;
	vmm = make_vmm(&config);
	ending = run(vmm);
	assert_int_equal(ending.reason, VMM_END_CRASH);
	assert_memory_equal(ending.text, "no jail for it", 14);
	assert_string_equal(ending.lines, ""); /* the guest did nothing */
	vmm_free(vmm);

	config = make_config("hp");
	config.hooks = (struct vmm_hooks){ .enter_thread = accept_thread, .data = &threads };
	vmm = make_vmm(&config);
	ending = run(vmm);
	assert_int_equal(ending.reason, VMM_END_POWEROFF);
	assert_int_equal(threads, 1);
	vmm_free(vmm);
}

/* ---- signals ------------------------------------------------------------------------------ */

static struct vmm *signalled_vmm;

static void on_signal(void *data, const struct signalfd_siginfo *info)
{
	*(int *)data = (int)info->ssi_signo;
	vmm_end(signalled_vmm, VMM_END_KILLED, (int)info->ssi_signo, NULL);
}

static void raise_usr1(void *data)
{
	(void)data;
	kill(getpid(), SIGUSR1);
}

static void raise_term(void *data)
{
	(void)data;
	kill(getpid(), SIGTERM);
}

static void signals_are_passed_on(void **state)
{
	struct vmm_config config = make_config("s");
	struct vmm_ending ending;
	int got = 0;

	(void)state;
	config.hooks.started = raise_term;
	signalled_vmm = make_vmm(&config);
	ending = run(signalled_vmm);
	assert_int_equal(ending.reason, VMM_END_KILLED);
	assert_int_equal(ending.signal, SIGTERM);
	vmm_free(signalled_vmm);

	config = make_config("s");
	config.hooks = (struct vmm_hooks){
		.started = raise_usr1,
		.signalled = on_signal,
		.data = &got,
	};
	signalled_vmm = make_vmm(&config);
	ending = run(signalled_vmm);
	assert_int_equal(got, SIGUSR1);
	assert_int_equal(ending.signal, SIGUSR1);
	vmm_free(signalled_vmm);
}

/* ---- pause -------------------------------------------------------------------------------- */

static uint64_t written(struct vmm *vmm)
{
	uint64_t n;

	pthread_mutex_lock(&vmm->serial.lock);
	n = vmm->serial.written;
	pthread_mutex_unlock(&vmm->serial.lock);
	return n;
}

static void pause_and_look(struct loop_source *source, uint32_t events)
{
	struct ticker *t = tick(source);
	struct kvm_regs before, after;

	(void)events;
	switch (t->steps) {
	case 0:
		if (written(t->vmm) < 100)
			return;
		vmm_pause(t->vmm);
		t->written = written(t->vmm);
		assert_int_equal(ioctl(t->vmm->vcpus.items[0].fd, KVM_GET_REGS, &before), 0);
		usleep(20000);
		assert_int_equal(written(t->vmm), t->written);
		assert_int_equal(ioctl(t->vmm->vcpus.items[0].fd, KVM_GET_REGS, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
		vmm_pause(t->vmm); /* twice is once */
		vmm_resume(t->vmm);
		vmm_resume(t->vmm);
		break;
	case 1:
		if (written(t->vmm) < t->written + 100)
			return;
		vmm_end(t->vmm, VMM_END_KILLED, 0, NULL);
		break;
	default:
		break;
	}
	t->steps++;
}

static void pause_stops_and_resume_goes_on(void **state)
{
	struct vmm_config config = make_config("b");
	struct vmm_ending ending;
	struct ticker ticker;
	struct vmm *vmm;

	(void)state;
	vmm = make_vmm(&config);
	start_ticker(&ticker, vmm, pause_and_look);
	ending = run(vmm);
	assert_int_equal(ending.reason, VMM_END_KILLED);
	assert_int_equal(ending.signal, 0);
	stop_ticker(&ticker);
	vmm_free(vmm);
}

/* As fast as can be: whatever a processor is at, it must not be missed. */
static void pause_often(struct loop_source *source, uint32_t events)
{
	struct ticker *t = tick(source);
	uint64_t last;

	(void)events;
	if (written(t->vmm) < 100)
		return;
	for (unsigned i = 0; i < 300; i++) {
		vmm_pause(t->vmm);
		vmm_resume(t->vmm);
	}
	vmm_pause(t->vmm);
	last = written(t->vmm);
	vmm_resume(t->vmm);
	while (written(t->vmm) <= last)
		usleep(100);
	vmm_pause(t->vmm);
	vmm_end(t->vmm, VMM_END_KILLED, 0, NULL); /* while it is paused */
}

static void pause_misses_no_processor(void **state)
{
	struct vmm_config config = make_config("b");
	struct ticker ticker;
	char lines[VMM_LINES_MAX];
	struct vmm *vmm;

	(void)state;
	config.cpus = 3; /* of which two wait for their start */
	vmm = make_vmm(&config);
	start_ticker(&ticker, vmm, pause_often);
	assert_int_equal(run(vmm).reason, VMM_END_KILLED);
	stop_ticker(&ticker);
	/* Nothing was done twice, or left out. */
	serial_last_lines(&vmm->serial, lines, sizeof(lines));
	for (size_t i = 2; i + 1 < strlen(lines); i += 2)
		assert_int_equal(lines[i], lines[i - 2] == '9' ? '0' : lines[i - 2] + 1);
	vmm_free(vmm);
}

/* ---- snapshots ---------------------------------------------------------------------------- */

struct saving {
	struct ticker ticker;
	int fd;
	int result;
	struct error error;
	bool done;
	unsigned rounds;
	uint64_t pages[4];
};

static char last_digit(struct vmm *vmm)
{
	uint64_t at = vmm->serial.written;

	/* It may be paused between a digit and the end of its line. */
	do {
		at--;
	} while (vmm->serial.tail[at % SERIAL_TAIL] == '\n');
	return vmm->serial.tail[at % SERIAL_TAIL];
}

static void save_and_end(struct loop_source *source, uint32_t events)
{
	struct saving *saving = (struct saving *)tick(source);
	uint64_t pages;

	(void)events;
	if (written(saving->ticker.vmm) < 100)
		return;
	vmm_pause(saving->ticker.vmm);
	saving->result = vmm_save_begin(saving->ticker.vmm, saving->fd, &saving->error);
	if (saving->result == 0)
		saving->result = vmm_save(saving->ticker.vmm, -1, &pages, &saving->error);
	vmm_save_end(saving->ticker.vmm);
	vmm_end(saving->ticker.vmm, VMM_END_KILLED, 0, NULL);
}

/* The same in rounds, of which the later ones write little. */
static void copy_and_end(struct loop_source *source, uint32_t events)
{
	struct saving *saving = (struct saving *)tick(source);
	struct vmm *vmm = saving->ticker.vmm;
	uint64_t pages = 0;

	(void)events;
	if (saving->done)
		return;
	if (!saving->rounds)
		saving->result = vmm_save_begin(vmm, saving->fd, &saving->error);
	if (written(vmm) < 30 * (saving->rounds + 1))
		return;
	if (saving->rounds < 3) {
		saving->result = vmm_save_round(vmm, &saving->error);
		while (saving->result == 0 &&
		       (saving->result = vmm_save_step(vmm, 1 << 20, &pages, &saving->error)) > 0)
			saving->result = 0;
		saving->pages[saving->rounds++] = pages;
		if (saving->result == 0)
			return;
	}
	saving->done = true; /* another tick may be under way */
	vmm_pause(vmm);
	if (saving->result == 0)
		saving->result = vmm_save(vmm, -1, &saving->pages[3], &saving->error);
	vmm_save_end(vmm);
	vmm_end(vmm, VMM_END_KILLED, 0, NULL);
}

static void end_when_written(struct loop_source *source, uint32_t events)
{
	struct ticker *t = tick(source);

	(void)events;
	if (written(t->vmm) >= 100)
		vmm_end(t->vmm, VMM_END_KILLED, 0, NULL);
}

/* Saves a machine that counts, and returns the digit it was at. */
static char save_counting(int fd)
{
	struct vmm_config config = make_config("b");
	struct saving saving = { .fd = fd, .result = -1 };
	struct vmm *vmm;
	char digit;

	config.cpus = 2; /* one of which waits for its start */
	vmm = make_vmm(&config);
	start_ticker(&saving.ticker, vmm, save_and_end);
	saving.fd = fd;
	assert_int_equal(run(vmm).reason, VMM_END_KILLED);
	if (saving.result < 0)
		fail_msg("%s", saving.error.text);
	digit = last_digit(vmm);
	stop_ticker(&saving.ticker);
	vmm_free(vmm);
	return digit;
}

static struct vmm_config make_restoring(int fd)
{
	struct vmm_config config = make_config(NULL);

	close_fd(&config.kernel);
	config.kernel = -1;
	config.cpus = 2;
	config.restore = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return config;
}

/* The restored one goes on with the next digit, or with the rest of the line; then nothing is left out. */
static void assert_counts_on(int fd, char digit)
{
	struct vmm_config config = make_restoring(fd);
	int output = memfd_create("output", MFD_CLOEXEC);
	struct ticker ticker;
	char text[100], *at;
	struct vmm *vmm;

	config.serial = fcntl(output, F_DUPFD_CLOEXEC, 0);
	vmm = make_vmm(&config);
	start_ticker(&ticker, vmm, end_when_written);
	assert_int_equal(run(vmm).reason, VMM_END_KILLED);
	stop_ticker(&ticker);
	vmm_free(vmm);
	assert_int_equal(pread(output, text, sizeof(text), 0), sizeof(text));
	at = text[0] == '\n' ? text + 1 : text;
	for (int i = 0; i < 40; i++, at += 2) {
		digit = digit == '9' ? '0' : (char)(digit + 1);
		assert_int_equal(at[0], digit);
		assert_int_equal(at[1], '\n');
	}
	close(output);
}

static void a_snapshot_goes_on_any_number_of_times(void **state)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct stat before, after;
	char digit;

	(void)state;
	need_kvm();
	digit = save_counting(fd);
	assert_int_equal(fstat(fd, &before), 0);
	/* Only what was touched of 16 MiB. */
	assert_in_range(before.st_size, 4096, 4 << 20);
	for (int i = 0; i < 3; i++)
		assert_counts_on(fd, digit);
	/* None of them wrote to it. */
	assert_int_equal(fstat(fd, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	close(fd);
}

static void assert_no_machine(struct vmm_config config, const char *why)
{
	struct error err = { 0 };

	assert_null(vmm_new(&config, &err));
	if (!strstr(err.text, why))
		fail_msg("`%s` does not say `%s`", err.text, why);
}

static void memory_is_copied_while_the_guest_runs(void **state)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct vmm_config config = make_config("b");
	struct saving saving = { .fd = fd, .result = -1 };
	struct vmm *vmm;
	char digit;

	(void)state;
	need_kvm();
	config.cpus = 2;
	vmm = make_vmm(&config);
	start_ticker(&saving.ticker, vmm, copy_and_end);
	saving.fd = fd;
	assert_int_equal(run(vmm).reason, VMM_END_KILLED);
	if (saving.result < 0)
		fail_msg("%s", saving.error.text);
	digit = last_digit(vmm);
	stop_ticker(&saving.ticker);
	vmm_free(vmm);
	assert_int_equal(saving.rounds, 3);
	assert_true(saving.pages[0] > saving.pages[1]);
	assert_true(saving.pages[3] <= saving.pages[0]);
	for (int i = 0; i < 2; i++)
		assert_counts_on(fd, digit);
	close(fd);
}

static void what_is_no_snapshot_of_the_machine_is_refused(void **state)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct snapshot_header header, other;
	struct vmm_config config;
	struct stat st;
	uint8_t byte;

	(void)state;
	need_kvm();
	assert_no_machine(make_restoring(fd), "cut off");
	save_counting(fd);
	config = make_restoring(fd);
	config.cpus = 3;
	assert_no_machine(config, "2 processors and 16 MiB");
	config = make_restoring(fd);
	config.memory *= 2;
	assert_no_machine(config, "2 processors and 16 MiB");
	config = make_restoring(fd);
	config.console_output = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	assert_no_machine(config, "virtio-console");

	assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
	other = header;
	other.version++;
	assert_int_equal(pwrite(fd, &other, sizeof(other), 0), sizeof(other));
	assert_no_machine(make_restoring(fd), "version 3");
	other = header;
	other.state_size = UINT64_MAX;
	assert_int_equal(pwrite(fd, &other, sizeof(other), 0), sizeof(other));
	assert_no_machine(make_restoring(fd), "larger than any");
	other = header;
	other.extents = SNAPSHOT_EXTENTS_MAX;
	assert_int_equal(pwrite(fd, &other, sizeof(other), 0), sizeof(other));
	assert_no_machine(make_restoring(fd), "");
	/* Any record that is longer than there is. */
	assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	byte = 0xff;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)header.state_at + 7), 1);
	assert_no_machine(make_restoring(fd), "record 1");
	/* One that was never finished. */
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, st.st_size), 0);
	assert_no_machine(make_restoring(fd), "not a whole one");
	close(fd);
}

/* ---- the control socket ------------------------------------------------------------------- */

static uint32_t ask(int sock, uint32_t request, struct error *result)
{
	struct message answer;

	assert_int_equal(message_send(sock, request, NULL, 0, NULL, 0, NULL), 0);
	memset(result, 0, sizeof(*result));
	assert_int_equal(message_receive(sock, &answer, result, sizeof(*result), NULL), 0);
	return answer.type;
}

struct client {
	struct sockaddr_un address;
	socklen_t len;
	struct vmm *vmm;
};

static int connect_client(const struct client *c)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(sock, (const struct sockaddr *)&c->address, c->len), 0);
	return sock;
}

static void *use_control(void *data)
{
	struct client *c = data;
	int sock = connect_client(c), other = connect_client(c), flood[CONTROL_CLIENTS_MAX];
	struct error result;
	uint64_t last;
	char byte;

	while (written(c->vmm) < 100)
		usleep(1000);
	assert_int_equal(ask(sock, CONTROL_PAUSE, &result), CONTROL_DONE);
	last = written(c->vmm);
	assert_int_equal(ask(other, 12345, &result), CONTROL_FAILED);
	assert_string_equal(result.text, "the monitor does not know the request 12345");
	/* What is no message ends the connection, and only that one. */
	assert_int_equal(send(other, "x", 1, 0), 1);
	assert_int_equal(recv(other, &byte, 1, 0), 0);
	close(other);
	assert_int_equal(written(c->vmm), last);
	assert_int_equal(ask(sock, CONTROL_RESUME, &result), CONTROL_DONE);
	while (written(c->vmm) == last)
		usleep(1000);
	/* One too many is turned away, and the others stay. */
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		flood[i] = connect_client(c);
	assert_int_equal(recv(flood[CONTROL_CLIENTS_MAX - 1], &byte, 1, 0), 0);
	assert_int_equal(ask(sock, CONTROL_PAUSE, &result), CONTROL_DONE);
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(flood[i]);
	close(sock);
	vmm_end(c->vmm, VMM_END_KILLED, 0, NULL);
	return NULL;
}

static void requests_come_by_the_control_socket(void **state)
{
	struct vmm_config config = make_config("b");
	struct client client = { .address = { .sun_family = AF_UNIX },
				 .len = sizeof(client.address) };
	struct control control;
	pthread_t thread;
	int listener;

	(void)state;
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	/* An address without a name: the kernel makes one up. */
	assert_int_equal(bind(listener, (struct sockaddr *)&client.address, sizeof(sa_family_t)),
			 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&client.address, &client.len), 0);
	assert_int_equal(listen(listener, 16), 0);
	client.vmm = make_vmm(&config);
	assert_int_equal(control_open(&control, client.vmm, listener, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, use_control, &client), 0);
	assert_int_equal(run(client.vmm).reason, VMM_END_KILLED);
	pthread_join(thread, NULL);
	control_close(&control);
	vmm_free(client.vmm);
}

static void the_start_is_told(void **state)
{
	struct error result = { 0 }, sent = { 0 };
	struct message message;
	int pair[2];

	(void)state;
	assert_int_equal(message_pair(pair, NULL), 0);
	assert_int_equal(control_tell(pair[0], NULL, NULL), 0);
	assert_int_equal(message_receive(pair[1], &message, NULL, 0, NULL), 0);
	assert_int_equal(message.type, CONTROL_DONE);
	error_set(&sent, ENOENT, "no kernel");
	assert_int_equal(control_tell(pair[0], &sent, NULL), 0);
	assert_int_equal(message_receive(pair[1], &message, &result, sizeof(result), NULL), 0);
	assert_int_equal(message.type, CONTROL_FAILED);
	assert_int_equal(result.code, ENOENT);
	assert_string_equal(result.text, "no kernel");
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machines_end_as_they_say),
		cmocka_unit_test(bzimages_run),
		cmocka_unit_test(machines_that_never_ran_go_away),
		cmocka_unit_test(wrong_machines_are_refused),
		cmocka_unit_test(threads_confine_themselves_before_the_guest),
		cmocka_unit_test(signals_are_passed_on),
		cmocka_unit_test(pause_stops_and_resume_goes_on),
		cmocka_unit_test(pause_misses_no_processor),
		cmocka_unit_test(a_snapshot_goes_on_any_number_of_times),
		cmocka_unit_test(memory_is_copied_while_the_guest_runs),
		cmocka_unit_test(what_is_no_snapshot_of_the_machine_is_refused),
		cmocka_unit_test(requests_come_by_the_control_socket),
		cmocka_unit_test(the_start_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
