/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads a kernel, an initrd and a command line into the guest's memory, and says where the first processor begins. No firmware
 * runs: it starts in the state that the kernel's own protocol asks for.
 *
 *     ELF, 64-bit, with the note XEN_ELFNOTE_PHYS32_ENTRY    PVH: 32-bit protected mode, struct hvm_start_info
 *                                                            (https://xenbits.xen.org/docs/unstable/misc/pvh.html)
 *     ELF, 64-bit, without it                                Linux' 64-bit entry at e_entry, with a zero page
 *     bzImage of protocol 2.12 or later, XLF_KERNEL_64       the same, 0x200 after where it is loaded
 *                                                            (Documentation/arch/x86/boot.rst)
 *
 * The files are the user's and may be hostile or cut off: every header is copied, bounded and checked, and what does not fit
 * is one clear error. What the kernel does later is the guest's own business.
 */
#ifndef HULL_MICROVM_BOOT_H
#define HULL_MICROVM_BOOT_H

#include <asm/bootparam.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "microvm/guest_memory.h"

#define BOOT_CMDLINE_MAX 2047u /* characters; Linux takes no more */

struct boot_config {
	int kernel;          /* a regular file or a block device; its offset does not matter */
	int initrd;          /* or -1 */
	const char *cmdline; /* NULL: none */
};

enum boot_entry { BOOT_PVH, BOOT_LINUX };

/* How the first processor begins. */
struct boot_state {
	enum boot_entry kind;
	uint64_t entry; /* its first instruction */
	uint64_t info;  /* RBX (PVH: the start info) or RSI (the zero page) */
};

/* Selectors of the table that is at LAYOUT_GDT. */
#define BOOT_SELECTOR_CODE32 0x08u
#define BOOT_SELECTOR_CODE64 0x10u /* __BOOT_CS, */
#define BOOT_SELECTOR_DATA   0x18u /* __BOOT_DS */
#define BOOT_SELECTOR_TASK   0x20u
#define BOOT_GDT_ENTRIES     6u

int boot_load(const struct guest_memory *memory, const struct boot_config *config,
	      struct boot_state *state, struct error *err);

/* ---- between the files of the loader ------------------------------------------------------- */

/* A kernel in memory. */
struct boot_kernel {
	enum boot_entry kind;
	uint64_t entry;
	uint64_t end;               /* it needs the memory up to here, exclusively */
	uint64_t initrd_end;        /* the initrd must lie below */
	uint32_t cmdline_max;       /* characters */
	struct setup_header header; /* for the zero page */
};

/* file: as kernel above, of size bytes. low_end: where RAM below 4 GiB ends. */
int boot_load_elf(const struct guest_memory *memory, int file, uint64_t size, uint64_t low_end,
		  struct boot_kernel *kernel, struct error *err);
int boot_load_bzimage(const struct guest_memory *memory, int file, uint64_t size, uint64_t low_end,
		      struct boot_kernel *kernel, struct error *err);

/* Reads len bytes at offset of the file, all or an error; what: for its message. */
int boot_read(int file, uint64_t offset, void *data, size_t len, const char *what,
	      struct error *err);

#endif
