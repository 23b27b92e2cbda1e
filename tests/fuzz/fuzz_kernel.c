/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the kernel that a virtual machine boots. Whatever they are: an error with one line of text, or a kernel whose entry
 * point and data lie in the guest's memory.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "microvm/boot.h"
#include "microvm/layout.h"

#define MEMORY (UINT64_C(32) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int make_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_guest_memory_ struct guest_memory memory;
	_cleanup_close_ int kernel = make_file(data, size);
	struct boot_config config = { .kernel = kernel, .initrd = kernel, .cmdline = "quiet" };
	struct boot_state state = { .entry = 0 };
	struct error err = { 0 };

	if (guest_memory_create(&memory, MEMORY, &err) < 0)
		abort();
	if (boot_load(&memory, &config, &state, &err) < 0) {
		if (!err.text[0] || strchr(err.text, '\n'))
			abort();
	} else if (!guest_memory_at(&memory, state.entry, 1) || state.entry < LAYOUT_KERNEL ||
		   !guest_memory_at(&memory, state.info, 4)) {
		abort();
	}
	return 0;
}
