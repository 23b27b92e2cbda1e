/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel that is a bzImage, as distributions' vmlinuz is; see boot.h and Documentation/arch/x86/boot.rst. */
#include <stddef.h>
#include <string.h>

#include "microvm/boot.h"
#include "microvm/layout.h"

#define HEADER_OFFSET  offsetof(struct boot_params, hdr)
#define HEADER_MAGIC   0x53726448u /* "HdrS" */
#define VERSION_MIN    0x020cu     /* the first that says whether there is a 64-bit entry point, */
#define ENTRY_64       0x200u      /* which is here */
#define SECTOR         512u
#define PARAGRAPH      16u    /* syssize counts these */
#define JUMP_AT        0x201u /* its operand: where the header ends, counted from 0x202 */
#define HEADER_END_MIN 0x264u /* with the fields of VERSION_MIN, init_size the last */

/* Only as much of the header as this kernel has; the rest is zero. */
static int read_header(int file, struct setup_header *header, struct error *err)
{
	uint8_t raw[HEADER_OFFSET + sizeof(*header)];
	size_t end;
	int r = boot_read(file, 0, raw, sizeof(raw), "its setup header", err);

	if (r < 0)
		return r;
	memcpy(header, raw + HEADER_OFFSET, sizeof(*header));
	if (header->header != HEADER_MAGIC || header->boot_flag != 0xaa55)
		return error_set(err, ENOEXEC, "it is neither an ELF file nor a bzImage");
	if (header->version < VERSION_MIN)
		return error_set(err, ENOEXEC,
				 "it is a bzImage of boot protocol %u.%u; 2.12 is needed",
				 header->version >> 8, header->version & 0xff);
	end = 0x202u + raw[JUMP_AT];
	if (end < HEADER_END_MIN)
		return error_set(err, ENOEXEC, "its setup header ends at %#zx, too early", end);
	if (end < sizeof(raw))
		memset((uint8_t *)header + (end - HEADER_OFFSET), 0, sizeof(raw) - end);
	return 0;
}

static int check_header(const struct setup_header *header, struct error *err)
{
	if (!(header->xloadflags & XLF_KERNEL_64))
		return error_set(err, ENOEXEC, "it is a bzImage without a 64-bit entry point");
	if (!(header->loadflags & LOADED_HIGH))
		return error_set(err, ENOEXEC, "it is a bzImage that is to be loaded below 1 MiB");
	if (header->pref_address < LAYOUT_KERNEL || header->pref_address >= LAYOUT_MAPPED)
		return error_set(err, ENOEXEC,
				 "it is a bzImage for %#llx; 1 MiB to 1 GiB is possible",
				 (unsigned long long)header->pref_address);
	return 0;
}

int boot_load_bzimage(const struct guest_memory *memory, int file, uint64_t size, uint64_t low_end,
		      struct boot_kernel *kernel, struct error *err)
{
	uint64_t offset, length, needed, limit = low_end < LAYOUT_MAPPED ? low_end : LAYOUT_MAPPED;
	struct setup_header header;
	int r = read_header(file, &header, err);

	if (r == 0)
		r = check_header(&header, err);
	if (r < 0)
		return r;
	/* A boot sector and setup_sects more, of which 0 means 4; then what runs, in paragraphs. */
	offset = (uint64_t)SECTOR * (1u + (header.setup_sects ? header.setup_sects : 4u));
	length = (uint64_t)PARAGRAPH * header.syssize;
	if (length <= ENTRY_64)
		return error_set(err, ENOEXEC, "it is a bzImage with nothing to load");
	if (offset > size || length - (PARAGRAPH - 1) > size - offset)
		return error_set(err, ENOEXEC,
				 "it is cut off: it has %llu bytes, its header says %llu",
				 (unsigned long long)size, (unsigned long long)(offset + length));
	/* The last paragraph need not be whole. */
	if (length > size - offset)
		length = size - offset;
	needed = header.init_size > length ? header.init_size : length;
	if (header.pref_address > limit || needed > limit - header.pref_address)
		return error_set(
			err, ENOMEM,
			"it needs the memory from %llu to %llu MiB to begin; there are %llu MiB",
			(unsigned long long)header.pref_address >> 20,
			(unsigned long long)(header.pref_address + needed + (1 << 20) - 1) >> 20,
			(unsigned long long)limit >> 20);
	r = guest_memory_load(memory, header.pref_address, file, offset, length, err);
	if (r < 0)
		return r;
	kernel->kind = BOOT_LINUX;
	kernel->entry = header.pref_address + ENTRY_64;
	kernel->end = header.pref_address + needed;
	kernel->initrd_end = header.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G
				     ? low_end
				     : (uint64_t)header.initrd_addr_max + 1;
	kernel->cmdline_max = header.cmdline_size;
	header.code32_start = (uint32_t)header.pref_address;
	kernel->header = header;
	return 0;
}
