/* SPDX-License-Identifier: Apache-2.0 */
/* Making a machine, and having hull-guest make the container in it. */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>

#include "base/message.h"
#include "base/path.h"
#include "base/process.h"
#include "microvm/control.h"
#include "sandbox/container.h"
#include "sandbox/microvm.h"
#include "sandbox/net_devices.h"
#include "sandbox/session.h"

/* ---- the plan ----------------------------------------------------------------------------------------- */

void microvm_plan_close(struct microvm_plan *plan)
{
	if (plan->rootfs.config)
		rootfs_close(&plan->rootfs);
	cgroup_close(&plan->cgroup);
	strbuf_free(&plan->scope);
	strbuf_free(&plan->mounts);
	arena_free(&plan->arena);
	close_fd(&plan->bundle);
	close_fd(&plan->dir);
	close_fd(&plan->sync);
	close_fd(&plan->terminal);
	close_fd(&plan->netns);
	close_fd(&plan->program);
	close_fd(&plan->server_end);
	close_fd(&plan->saved.machine);
	close_fd(&plan->saved.files);
}

static int plan_rootfs(struct microvm_plan *plan, struct error *err)
{
	int r;

	plan->rootfs.config = plan->sb->config;
	plan->rootfs.mode = ROOTFS_NEW;
	plan->rootfs.path = plan->sb->rootfs;
	plan->rootfs.given = plan->sb->own_root;
	plan->rootfs.bundle = plan->bundle;
	plan->rootfs.user_ns = -EBADF;
	plan->rootfs.user_namespace = oci_namespace_find(plan->sb->config, OCI_NS_USER) != NULL;
	r = rootfs_open(&plan->rootfs, err);
	/* What an ordinary user's file server opens itself, it alone knows. */
	return r < 0 || plan->rootfs.deferred ? r : microvm_list_mounts(plan, err);
}

static int make_dir(struct microvm_plan *plan, struct error *err)
{
	/* The jail's user, who is nobody, must be able to look into it; the state directory around it is closed to others. */
	if (mkdirat(plan->sb->state_dir, MICROVM_DIR, 0711) < 0)
		return error_errno(err, errno, "make `%s` in the state directory", MICROVM_DIR);
	plan->dir = microvm_open_dir(plan->sb, err);
	return plan->dir < 0 ? plan->dir : 0;
}

int microvm_open_terminal(const struct oci_console_size *size, int *primary, int *secondary,
			  struct error *err)
{
	struct winsize ws = { 0 };
	_cleanup_close_ int ptm = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	_cleanup_close_ int pts = -EBADF;
	struct termios raw;
	int unlock = 0;

	if (ptm < 0 || ioctl(ptm, TIOCSPTLCK, &unlock) < 0)
		return error_errno(err, errno, "make a terminal");
	pts = ioctl(ptm, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pts < 0 || tcgetattr(pts, &raw) < 0)
		return error_errno(err, errno, "make a terminal");
	/* The guest's terminal does the work of one. */
	cfmakeraw(&raw);
	if (size) {
		ws.ws_row = (unsigned short)size->height;
		ws.ws_col = (unsigned short)size->width;
	}
	if (tcsetattr(pts, TCSANOW, &raw) < 0 || (size && ioctl(pts, TIOCSWINSZ, &ws) < 0))
		return error_errno(err, errno, "make a terminal");
	*primary = take_fd(&ptm);
	*secondary = take_fd(&pts);
	return 0;
}

static int plan_terminal(struct microvm_plan *plan, const struct sandbox_io *io, struct error *err)
{
	const struct oci_process *process = plan->sb->config->process;
	int r;

	if (!process->terminal.v)
		return 0;
	r = microvm_open_terminal(process->console_size, &plan->sb->terminal, &plan->terminal, err);
	return r < 0 ? r : process_hand_over_terminal(io->console_socket, &plan->sb->terminal, err);
}

struct own_cgroup microvm_own_cgroup(struct microvm_plan *plan)
{
	return (struct own_cgroup){ .sb = plan->sb,
				    .resources = plan->resources,
				    .cgroup = &plan->cgroup,
				    .scope = &plan->scope };
}

static int make_cgroup(struct microvm_plan *plan, struct error *err)
{
	const struct oci_resources *resources = plan->sb->config->linux_->resources;
	struct own_cgroup own;

	if (resources) {
		plan->resources =
			microvm_host_resources(resources, plan->machine.memory_mib, &plan->arena);
		if (!plan->resources)
			return error_errno(err, ENOMEM, "plan the limits");
	}
	own = microvm_own_cgroup(plan);
	return own_cgroup_make(&own, err);
}

int microvm_plan_open(struct microvm_plan *plan, const struct sandbox_io *io, struct error *err)
{
	struct sandbox *sb = plan->sb;
	int r;

	if (io->preserve_fds)
		return error_set(
			err, ENOTSUP,
			"--preserve-fds: a descriptor of the host's cannot be handed into a "
			"microVM; use --sandbox container");
	/* They are in hull-vmm's network namespace and the file server's mounts: no user but root may be in both. */
	if (geteuid() != 0 && plan->hooks->wanted[SANDBOX_STAGE_CREATE_CONTAINER])
		return error_set(
			err, ENOTSUP,
			"/hooks/createContainer: for a microVM they take root; use createRuntime "
			"hooks, or --sandbox container");
	plan->bundle = path_open_dir(sb->bundle, true, err);
	if (plan->bundle < 0)
		return plan->bundle;
	r = microvm_plan_machine(sb->config, &plan->arena, &plan->machine, err);
	if (r == 0)
		r = microvm_plan_network(plan, err);
	if (r == 0 && plan->saved.machine >= 0)
		r = microvm_plan_saved(plan, err);
	if (r == 0)
		r = make_cgroup(plan, err);
	if (r == 0)
		r = plan_rootfs(plan, err);
	if (r == 0)
		r = make_dir(plan, err);
	return r < 0 ? r : plan_terminal(plan, io, err);
}

/* ---- the machine -------------------------------------------------------------------------------------- */

/* Makes an error of what hull-vmm said last, if it was one. */
static int failure(const struct message *message, struct error *said, struct error *err)
{
	if (message->type != CONTROL_FAILED || message->len != sizeof(*said) || said->code <= 0)
		return 0;
	said->text[sizeof(said->text) - 1] = '\0';
	return error_set(err, said->code, "%s", said->text);
}

/* What hull-vmm said before it ended, if anything; else how it ended. */
int microvm_ended(struct sandbox *sb, struct error *err)
{
	struct error said = { 0 };
	struct message message;
	int r = 0;

	if (message_receive(sb->channel, &message, &said, sizeof(said), NULL) == 0)
		r = failure(&message, &said, err);
	if (r == 0)
		return spawn_ended(&sb->pid, err);
	spawn_discard(&sb->pid);
	return r;
}

int microvm_await_done(int channel, pid_t *pid, struct error *err)
{
	struct error said = { 0 };
	struct message message;
	int r = message_receive(channel, &message, &said, sizeof(said), err);

	if (r == -EPIPE)
		return spawn_ended(pid, err);
	if (r == 0)
		r = failure(&message, &said, err);
	if (r < 0 || message.type == CONTROL_DONE)
		return r;
	return error_errno(err, EPROTO, "talk to hull-vmm");
}

static int fill_create(const struct microvm_plan *plan, struct agent_create *create,
		       struct error *err)
{
	const struct sandbox *sb = plan->sb;

	*create = (struct agent_create){
		.flags = (sb->no_new_keyring ? AGENT_NO_NEW_KEYRING : 0) |
			 (sb->notify ? AGENT_NOTIFY : 0),
	};
	snprintf(create->id, sizeof(create->id), "%s", sb->id);
	if (plan->terminal >= 0)
		create->size = session_terminal_size(plan->terminal);
	if (getrandom(create->seed, sizeof(create->seed), 0) != sizeof(create->seed))
		return error_errno(err, errno, "getrandom");
	return 0;
}

uint64_t microvm_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Has hull-guest make the container; it says how that went. */
static int create_in_guest(struct microvm_plan *plan, struct error *err)
{
	_cleanup_strbuf_ struct strbuf json = { 0 };
	_cleanup_close_ int sock = -EBADF;
	struct sandbox *sb = plan->sb;
	struct agent_create create;
	struct iovec parts[3] = { { &create, sizeof(create) } };
	int r = microvm_guest_config(sb->config, &plan->arena, &json, err);

	if (r == 0)
		r = fill_create(plan, &create, err);
	if (r < 0)
		return r;
	create.config_len = (uint32_t)json.len;
	create.mounts_len = (uint32_t)plan->mounts.len;
	parts[1] = (struct iovec){ json.data, json.len };
	parts[2] = (struct iovec){ plan->mounts.data, plan->mounts.len };
	sock = microvm_connect(plan->dir, AGENT_PORT, MICROVM_BOOT_TIME, err);
	if (sock < 0)
		return sock == -ESRCH || sock == -EPIPE ? microvm_ended(sb, err) : sock;
	plan->guest_is_up = true;
	create.time_ns =
		microvm_now_ns(); /* it is not before the guest has booted that this is the time */
	r = agent_sendv(sock, AGENT_CREATE, parts, ARRAY_SIZE(parts), err);
	if (r == 0)
		r = (int)agent_receive_answer(sock, NULL, NULL, AGENT_PAYLOAD_MAX, &sb->exec_failed,
					      err);
	return r == -EPIPE ? microvm_ended(sb, err) : r;
}

static int read_start_time(pid_t pid, uint64_t *start_time, struct error *err)
{
	struct process_stat st;
	int r = process_read_stat(pid, &st, err);

	if (r == 0)
		*start_time = st.start_time;
	return r;
}

int microvm_make_machine(struct microvm_plan *plan, struct error *err)
{
	const struct sandbox_hooks *hooks = plan->hooks;
	struct sandbox *sb = plan->sb;
	int ends[2], r = message_pair(ends, err);

	if (r < 0)
		return r;
	sb->channel = ends[0];
	plan->sync = ends[1];
	r = microvm_spawn(plan, err);
	close_fd(&plan->sync); /* so that the end of hull-vmm is the end of the channel */
	if (r == 0)
		r = microvm_await_done(sb->channel, &sb->pid, err);
	if (r == 0)
		r = microvm_move_net_devices(sb, err);
	if (r == 0 && hooks->wanted[SANDBOX_STAGE_CREATE_RUNTIME])
		r = hooks->run(hooks->data, SANDBOX_STAGE_CREATE_RUNTIME, sb->pid, err);
	if (r == 0 && hooks->wanted[SANDBOX_STAGE_CREATE_CONTAINER])
		r = microvm_spawn_file_server(plan, err);
	if (r == 0)
		r = read_start_time(sb->pid, &sb->start_time, err);
	if (r == 0)
		r = read_start_time(sb->file_server, &sb->file_server_start, err);
	return r;
}

void microvm_plan_init(struct microvm_plan *plan, struct sandbox *sb,
		       const struct sandbox_hooks *hooks)
{
	*plan = (struct microvm_plan){ .sb = sb,
				       .hooks = hooks,
				       .template = { -EBADF, -EBADF, -EBADF, "" },
				       .saved = { .machine = -EBADF, .files = -EBADF },
				       .program = -EBADF,
				       .server_end = -EBADF,
				       .bundle = -EBADF,
				       .dir = -EBADF,
				       .terminal = -EBADF,
				       .sync = -EBADF,
				       .netns = -EBADF };
	sb->terminal = -1;
}

void microvm_settle(struct microvm_plan *plan, bool failed)
{
	struct sandbox *sb = plan->sb;

	if (failed) {
		spawn_discard(&sb->pid);
		close_fd(&sb->channel);
		close_fd(&sb->terminal);
		/* The file server ends with hull-vmm, whose socket it holds. Whoever starts us may wait for it, as for any orphan. */
		spawn_discard(&sb->file_server);
	}
	net_devices_settle(sb, failed);
	microvm_template_settle(plan, plan->guest_is_up);
	microvm_plan_close(plan);
}

int microvm_create(struct sandbox *sb, const struct sandbox_hooks *hooks,
		   const struct sandbox_io *io, bool detach_later _unused_, struct error *err)
{
	struct microvm_plan plan;
	int r;

	microvm_plan_init(&plan, sb, hooks);
	r = microvm_plan_open(&plan, io, err);
	if (r == 0)
		r = microvm_make_machine(&plan, err);
	if (r == 0)
		r = create_in_guest(&plan, err);
	microvm_settle(&plan, r < 0);
	return r;
}
