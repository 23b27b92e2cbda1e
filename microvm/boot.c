/* SPDX-License-Identifier: Apache-2.0 */
/* Loading what the guest boots; see boot.h. The kernel's format is in boot_elf.c and boot_bzimage.c. */
#include "microvm/boot.h"

#include <linux/fs.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/layout.h"

/* The types of memory ranges are the same in both protocols (ACPI 6.5, 15). */
#define RANGE_RAM      1u
#define RANGE_RESERVED 2u
#define RANGES_MAX     4

/* https://xenbits.xen.org/docs/unstable/misc/pvh.html, xen/include/public/arch-x86/hvm/start_info.h */
#define START_INFO_MAGIC 0x336ec578u

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, cmdline, rsdp;
	uint64_t memory_map;
	uint32_t memory_map_count, reserved;
};

struct start_module {
	uint64_t address, size, cmdline, reserved;
};

struct start_range {
	uint64_t address, size;
	uint32_t type, reserved;
};

struct start {
	struct start_info info;
	struct start_module initrd;
	struct start_range ranges[RANGES_MAX];
};

/* Page table entries of Intel SDM volume 3A, 4.5: present, writable; a page of 2 MiB. */
#define PAGE_TABLE 0x03u
#define PAGE_LARGE 0x83u

struct range {
	uint64_t address, size;
	uint32_t type;
};

struct loaded {
	struct boot_kernel kernel;
	uint64_t initrd, initrd_size;
	struct range ranges[RANGES_MAX];
	unsigned range_count;
};

/* ---- files -------------------------------------------------------------------------------- */

int boot_read(int file, uint64_t offset, void *data, size_t len, const char *what,
	      struct error *err)
{
	uint8_t *to = data;

	while (len) {
		ssize_t n = pread(file, to, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, errno, "read %s", what);
		if (n == 0)
			return error_set(err, ENOEXEC, "the file ends within %s", what);
		to += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int file_size(int file, uint64_t *size, struct error *err)
{
	struct stat st;

	if (fstat(file, &st) < 0)
		return error_errno(err, errno, "stat");
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(file, BLKGETSIZE64, size) < 0)
			return error_errno(err, errno, "BLKGETSIZE64");
	} else if (!S_ISREG(st.st_mode)) {
		return error_set(err, EINVAL, "it is neither a regular file nor a block device");
	} else {
		*size = (uint64_t)st.st_size;
	}
	/* So that sums of two cannot overflow, nor an offset. */
	if (*size > INT64_MAX / 2)
		return error_errno(err, EFBIG, "its size");
	return 0;
}

static int load_kernel(const struct guest_memory *memory, int file, struct boot_kernel *kernel,
		       struct error *err)
{
	uint64_t low_end = memory->regions[0].size;
	char magic[4];
	uint64_t size = 0;
	int r = file_size(file, &size, err);

	if (r == 0)
		r = boot_read(file, 0, magic, sizeof(magic), "its first bytes", err);
	if (r == 0 && !memcmp(magic, "\177ELF", 4))
		r = boot_load_elf(memory, file, size, low_end, kernel, err);
	else if (r == 0)
		r = boot_load_bzimage(memory, file, size, low_end, kernel, err);
	return r < 0 ? error_wrap(err, "the kernel") : 0;
}

/* At the end of low memory, where it is least in the kernel's way. */
static int load_initrd(const struct guest_memory *memory, int file, struct loaded *loaded,
		       struct error *err)
{
	uint64_t end = memory->regions[0].size, size = 0;
	int r = file_size(file, &size, err);

	if (end > loaded->kernel.initrd_end)
		end = loaded->kernel.initrd_end;
	if (r == 0 &&
	    (size > end || ((end - size) & ~(uint64_t)(GUEST_PAGE_SIZE - 1)) < loaded->kernel.end))
		r = error_set(err, ENOMEM,
			      "%llu MiB do not fit above the kernel in %llu MiB of memory",
			      (unsigned long long)(size + (1 << 20) - 1) >> 20,
			      (unsigned long long)end >> 20);
	if (r == 0 && size) {
		loaded->initrd = (end - size) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		loaded->initrd_size = size;
		r = guest_memory_load(memory, loaded->initrd, file, 0, size, err);
	}
	return r < 0 ? error_wrap(err, "the initrd") : 0;
}

static int write_cmdline(const struct guest_memory *memory, const char *cmdline, uint32_t max,
			 struct error *err)
{
	size_t len = strlen(cmdline);

	if (max > BOOT_CMDLINE_MAX)
		max = BOOT_CMDLINE_MAX;
	if (len > max)
		return error_set(
			err, E2BIG,
			"the kernel's command line has %zu characters; it takes at most %u", len,
			max);
	if (!guest_memory_write(memory, LAYOUT_CMDLINE, cmdline, len + 1))
		return error_set(err, ENOMEM, "the guest has no memory for a command line");
	return 0;
}

/* ---- what the kernel is told -------------------------------------------------------------- */

static void add_range(struct loaded *loaded, uint64_t address, uint64_t size, uint32_t type)
{
	if (size)
		loaded->ranges[loaded->range_count++] = (struct range){ address, size, type };
}

static void find_ranges(const struct guest_memory *memory, struct loaded *loaded)
{
	add_range(loaded, 0, LAYOUT_LOW_END, RANGE_RAM);
	add_range(loaded, LAYOUT_RSDP, LAYOUT_KERNEL - LAYOUT_RSDP, RANGE_RESERVED);
	add_range(loaded, LAYOUT_KERNEL, memory->regions[0].size - LAYOUT_KERNEL, RANGE_RAM);
	if (memory->region_count > 1)
		add_range(loaded, memory->regions[1].gpa, memory->regions[1].size, RANGE_RAM);
}

static bool write_start_info(const struct guest_memory *memory, const struct loaded *loaded)
{
	struct start start = {
		.info = {
			.magic = START_INFO_MAGIC,
			.version = 1,
			.module_count = loaded->initrd_size ? 1 : 0,
			.modules = LAYOUT_START_INFO + offsetof(struct start, initrd),
			.cmdline = LAYOUT_CMDLINE,
			.rsdp = LAYOUT_RSDP,
			.memory_map = LAYOUT_START_INFO + offsetof(struct start, ranges),
			.memory_map_count = loaded->range_count,
		},
		.initrd = { .address = loaded->initrd, .size = loaded->initrd_size },
	};

	for (unsigned i = 0; i < loaded->range_count; i++)
		start.ranges[i] = (struct start_range){
			.address = loaded->ranges[i].address,
			.size = loaded->ranges[i].size,
			.type = loaded->ranges[i].type,
		};
	return guest_memory_write(memory, LAYOUT_START_INFO, &start, sizeof(start));
}

static bool write_zero_page(const struct guest_memory *memory, const struct loaded *loaded)
{
	struct boot_params params = { .hdr = loaded->kernel.header };

	params.hdr.type_of_loader = 0xff; /* none that has a number */
	params.hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	params.hdr.ramdisk_image = (uint32_t)loaded->initrd;
	params.hdr.ramdisk_size = (uint32_t)loaded->initrd_size;
	params.acpi_rsdp_addr = LAYOUT_RSDP;
	params.e820_entries = (uint8_t)loaded->range_count;
	for (unsigned i = 0; i < loaded->range_count; i++)
		params.e820_table[i] = (struct boot_e820_entry){
			.addr = loaded->ranges[i].address,
			.size = loaded->ranges[i].size,
			.type = loaded->ranges[i].type,
		};
	return guest_memory_write(memory, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
}

/* The first GiB at its own address. */
static bool write_page_tables(const struct guest_memory *memory)
{
	uint64_t pml4 = LAYOUT_PDPT | PAGE_TABLE, pdpt = LAYOUT_PD | PAGE_TABLE, pd[512];

	for (uint64_t i = 0; i < ARRAY_SIZE(pd); i++)
		pd[i] = i << 21 | PAGE_LARGE;
	return guest_memory_write(memory, LAYOUT_PML4, &pml4, sizeof(pml4)) &&
	       guest_memory_write(memory, LAYOUT_PDPT, &pdpt, sizeof(pdpt)) &&
	       guest_memory_write(memory, LAYOUT_PD, pd, sizeof(pd));
}

/* The processor has loaded its segments already; the table is for a kernel that loads them again. */
static bool write_gdt(const struct guest_memory *memory)
{
	static const uint64_t gdt[BOOT_GDT_ENTRIES] = {
		[BOOT_SELECTOR_CODE32 / 8] = 0x00cf9b000000ffff,
		[BOOT_SELECTOR_CODE64 / 8] = 0x00af9b000000ffff,
		[BOOT_SELECTOR_DATA / 8] = 0x00cf93000000ffff,
		[BOOT_SELECTOR_TASK / 8] = 0x00008b0000000067,
	};

	return guest_memory_write(memory, LAYOUT_GDT, gdt, sizeof(gdt));
}

int boot_load(const struct guest_memory *memory, const struct boot_config *config,
	      struct boot_state *state, struct error *err)
{
	struct loaded loaded = { 0 };
	bool written;
	int r;

	if (memory->regions[0].size <= LAYOUT_KERNEL)
		return error_set(err, ENOMEM, "a guest needs more than 1 MiB of memory");
	r = load_kernel(memory, config->kernel, &loaded.kernel, err);
	if (r == 0 && config->initrd >= 0)
		r = load_initrd(memory, config->initrd, &loaded, err);
	if (r == 0)
		r = write_cmdline(memory, config->cmdline ? config->cmdline : "",
				  loaded.kernel.cmdline_max, err);
	if (r < 0)
		return r;
	find_ranges(memory, &loaded);
	if (loaded.kernel.kind == BOOT_PVH)
		written = write_start_info(memory, &loaded);
	else
		written = write_zero_page(memory, &loaded) && write_page_tables(memory);
	if (!written || !write_gdt(memory))
		return error_set(err, ENOMEM, "the guest has no memory for what it boots from");
	*state = (struct boot_state){
		.kind = loaded.kernel.kind,
		.entry = loaded.kernel.entry,
		.info = loaded.kernel.kind == BOOT_PVH ? LAYOUT_START_INFO : LAYOUT_BOOT_PARAMS,
	};
	return 0;
}
