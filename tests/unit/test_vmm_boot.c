/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel loader, on files that are right and on files that lie. */
#include "tests/unit/unit.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/boot.h"
#include "microvm/layout.h"

#define MIB (UINT64_C(1) << 20)

/* ---- files -------------------------------------------------------------------------------- */

static int make_file(const void *data, size_t len)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

/* An ELF kernel of one segment at 1 MiB, with its notes at the segment's end. */
struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr segments[4];
	uint8_t code[256];
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint32_t entry;
	} note;
};

static struct elf_file make_elf(bool pvh)
{
	struct elf_file f = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = MIB + 8,
			.e_phoff = offsetof(struct elf_file, segments),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 2,
		},
		.segments = {
			{
				.p_type = PT_LOAD,
				.p_offset = offsetof(struct elf_file, code),
				.p_vaddr = 0xffffffff80000000 + MIB,
				.p_paddr = MIB,
				.p_filesz = sizeof(f.code),
				.p_memsz = 0x3000,
			},
			{
				.p_type = pvh ? PT_NOTE : PT_NULL,
				.p_offset = offsetof(struct elf_file, note),
				.p_filesz = sizeof(f.note),
			},
		},
		.note = { { 4, 4, 18 }, "Xen", (uint32_t)MIB + 16 },
	};

	for (size_t i = 0; i < sizeof(f.code); i++)
		f.code[i] = (uint8_t)(i + 1);
	return f;
}

static struct guest_memory memory;

static int set_up(void **state)
{
	(void)state;
	return guest_memory_create(&memory, 64 * MIB, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	guest_memory_free(&memory);
	return 0;
}

static int load(int kernel, int initrd, const char *cmdline, struct boot_state *boot,
		struct error *err)
{
	struct boot_config config = { .kernel = kernel, .initrd = initrd, .cmdline = cmdline };
	int r = boot_load(&memory, &config, boot, err);

	close(kernel);
	if (initrd >= 0)
		close(initrd);
	return r;
}

static int load_elf(const struct elf_file *f, struct boot_state *boot, struct error *err)
{
	return load(make_file(f, sizeof(*f)), -1, "", boot, err);
}

/* The file is refused with that in the message. */
static void assert_refused(int kernel, const char *why)
{
	struct boot_state boot;
	struct error err = { 0 };

	assert_true(load(kernel, -1, "", &boot, &err) < 0);
	if (!strstr(err.text, why))
		fail_msg("the message is not about \"%s\": %s", why, err.text);
	assert_null(strchr(err.text, '\n'));
}

static void assert_elf_refused(const struct elf_file *f, const char *why)
{
	assert_refused(make_file(f, sizeof(*f)), why);
}

static uint32_t peek32(uint64_t at)
{
	uint32_t value;

	assert_true(guest_memory_read(&memory, at, &value, sizeof(value)));
	return value;
}

static uint64_t peek64(uint64_t at)
{
	return peek32(at) | (uint64_t)peek32(at + 4) << 32;
}

/* ---- ELF ---------------------------------------------------------------------------------- */

static void elf_with_note_is_pvh(void **state)
{
	struct elf_file f = make_elf(true);
	struct error err = { 0 };
	struct boot_state boot;
	uint64_t map;

	(void)state;
	assert_int_equal(load_elf(&f, &boot, &err), 0);
	assert_int_equal(boot.kind, BOOT_PVH);
	assert_int_equal(boot.entry, MIB + 16);
	assert_int_equal(boot.info, LAYOUT_START_INFO);
	assert_memory_equal(guest_memory_at(&memory, MIB, sizeof(f.code)), f.code, sizeof(f.code));
	assert_int_equal(peek32(MIB + sizeof(f.code)), 0);
	assert_int_equal(peek32(LAYOUT_START_INFO), 0x336ec578);
	assert_int_equal(peek32(LAYOUT_START_INFO + 4), 1);
	assert_int_equal(peek32(LAYOUT_START_INFO + 12), 0);
	assert_int_equal(peek64(LAYOUT_START_INFO + 24), LAYOUT_CMDLINE);
	assert_int_equal(peek64(LAYOUT_START_INFO + 32), LAYOUT_RSDP);
	map = peek64(LAYOUT_START_INFO + 40);
	assert_int_equal(peek32(LAYOUT_START_INFO + 48), 3);
	assert_int_equal(peek64(map), 0);
	assert_int_equal(peek64(map + 8), 0x9fc00);
	assert_int_equal(peek32(map + 16), 1);
	assert_int_equal(peek64(map + 24), 0xe0000);
	assert_int_equal(peek64(map + 32), 0x20000);
	assert_int_equal(peek32(map + 40), 2);
	assert_int_equal(peek64(map + 48), MIB);
	assert_int_equal(peek64(map + 56), 63 * MIB);
	assert_int_equal(peek32(map + 64), 1);
}

static void elf_without_note_gets_a_zero_page(void **state)
{
	struct elf_file f = make_elf(false);
	struct error err = { 0 };
	struct boot_params params;
	struct boot_state boot;

	(void)state;
	assert_int_equal(load_elf(&f, &boot, &err), 0);
	assert_int_equal(boot.kind, BOOT_LINUX);
	assert_int_equal(boot.entry, MIB + 8);
	assert_int_equal(boot.info, LAYOUT_BOOT_PARAMS);
	guest_memory_read(&memory, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
	assert_int_equal(params.hdr.boot_flag, 0xaa55);
	assert_int_equal(params.hdr.header, 0x53726448);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	assert_int_equal(params.acpi_rsdp_addr, LAYOUT_RSDP);
	assert_int_equal(params.e820_entries, 3);
	assert_int_equal(params.e820_table[2].addr, MIB);
	assert_int_equal(params.e820_table[2].size, 63 * MIB);
	/* Tables that map the first GiB to itself. */
	assert_int_equal(peek64(LAYOUT_PML4), LAYOUT_PDPT | 3);
	assert_int_equal(peek64(LAYOUT_PDPT), LAYOUT_PD | 3);
	assert_int_equal(peek64(LAYOUT_PD + 8 * 511), 511 * 2 * MIB | 0x83);
}

static void another_note_before_does_not_matter(void **state)
{
	struct {
		Elf64_Nhdr header;
		char name[8];
		uint8_t content[5], padding[3];
	} other = { { 5, 5, 18 }, "Xenx", { 1, 2, 3, 4, 5 }, { 0 } };
	struct elf_file f = make_elf(true);
	struct error err = { 0 };
	struct boot_state boot;

	(void)state;
	/* The notes begin in the code, with one of another name and an odd length. */
	memcpy(f.code + sizeof(f.code) - sizeof(other), &other, sizeof(other));
	f.segments[1].p_offset -= sizeof(other);
	f.segments[1].p_filesz += sizeof(other);
	assert_int_equal(load_elf(&f, &boot, &err), 0);
	assert_int_equal(boot.kind, BOOT_PVH);
	assert_int_equal(boot.entry, MIB + 16);
}

static void elf_headers_that_lie_are_refused(void **state)
{
	struct elf_file f;

	(void)state;
#define WITH(change, why)                    \
	do {                                 \
		f = make_elf(true);          \
		change;                      \
		assert_elf_refused(&f, why); \
	} while (0)
	WITH(f.header.e_ident[EI_CLASS] = ELFCLASS32, "not one for x86-64");
	WITH(f.header.e_ident[EI_DATA] = ELFDATA2MSB, "not one for x86-64");
	WITH(f.header.e_machine = EM_AARCH64, "not one for x86-64");
	WITH(f.header.e_type = ET_REL, "no program");
	WITH(f.header.e_phentsize = 32, "program headers");
	WITH(f.header.e_phnum = 0, "program headers");
	WITH(f.header.e_phnum = 65, "program headers");
	WITH(f.header.e_phnum = 60, "ends within its program headers");
	WITH(f.header.e_phoff = UINT64_MAX - 7, "beyond its end");
	WITH(f.header.e_phoff = sizeof(f), "ends within its program headers");
	WITH(f.segments[0].p_filesz = 0x3001, "larger in the file");
	WITH((f.segments[0].p_filesz = 0x3000), "beyond the file's end");
	WITH(f.segments[0].p_offset = UINT64_MAX - 100, "beyond the file's end");
	WITH(f.segments[0].p_paddr = 0x7000, "below 1 MiB");
	WITH(f.segments[0].p_paddr = 0, "below 1 MiB");
	WITH(f.segments[0].p_paddr = 64 * MIB - 0x2fff, "memory ends at 0x4000000");
	WITH(f.segments[0].p_paddr = UINT64_MAX - 0xfff, "memory ends at");
	WITH(f.segments[0].p_memsz = UINT64_MAX, "memory ends at");
	WITH(f.segments[0].p_paddr = LAYOUT_MMIO, "memory ends at");
	WITH(f.segments[0].p_type = PT_NULL, "nothing to load");
	WITH(f.note.entry = 5, "in none of its segments");
	WITH(f.note.entry = (uint32_t)MIB + 0x3000, "in none of its segments");
	WITH((f.segments[1].p_type = PT_NULL, f.header.e_entry = 0xffffffff80000000),
	     "in none of its segments");
#undef WITH
}

static void elf_notes_that_lie_are_refused(void **state)
{
	struct elf_file f;

	(void)state;
#define WITH(change, why)                    \
	do {                                 \
		f = make_elf(true);          \
		change;                      \
		assert_elf_refused(&f, why); \
	} while (0)
	WITH(f.note.header.n_namesz = UINT32_MAX, "a note's name");
	WITH(f.note.header.n_namesz = 9, "a note's name");
	WITH(f.note.header.n_descsz = UINT32_MAX, "over the notes' end");
	WITH(f.note.header.n_descsz = 5, "over the notes' end");
	WITH(f.note.header.n_descsz = 2, "entry point has 2 bytes");
	WITH(f.segments[1].p_filesz = 65537, "65537 bytes of notes");
	WITH(f.segments[1].p_offset = UINT64_MAX, "beyond the file's end");
	WITH(f.segments[1].p_filesz += 5, "beyond the file's end");
#undef WITH
	/* Notes that are too short for one are none. */
	f = make_elf(true);
	f.segments[1].p_filesz = 11;
	{
		struct boot_state boot;
		struct error err = { 0 };

		assert_int_equal(load_elf(&f, &boot, &err), 0);
		assert_int_equal(boot.kind, BOOT_LINUX);
	}
}

static void segments_that_overlap_are_refused(void **state)
{
	struct elf_file f = make_elf(true);

	(void)state;
	f.segments[2] = f.segments[0];
	f.header.e_phnum = 3;
	f.segments[2].p_paddr = MIB + 0x2fff;
	f.segments[2].p_memsz = f.segments[2].p_filesz = 1;
	assert_elf_refused(&f, "segments 0 and 2 overlap");
	f.segments[2].p_paddr = MIB + 0x3000;
	{
		struct boot_state boot;
		struct error err = { 0 };

		assert_int_equal(load_elf(&f, &boot, &err), 0);
	}
}

/* Every length of the file, and every byte of its headers turned round: an answer each time, and no crash. */
static void no_elf_file_is_too_broken(void **state)
{
	struct elf_file f = make_elf(true);
	size_t headers = offsetof(struct elf_file, code);
	struct boot_state boot;

	(void)state;
	for (size_t len = 0; len < offsetof(struct elf_file, note) + sizeof(f.note); len++)
		assert_true(load(make_file(&f, len), -1, "", &boot, NULL) < 0);
	for (size_t i = 0; i < headers + sizeof(f.note); i++) {
		uint8_t *byte =
			i < headers ? (uint8_t *)&f + i : (uint8_t *)&f.note + (i - headers);

		for (int flip = 0; flip < 3; flip++) {
			uint8_t mask = flip == 0 ? 0xff : flip == 1 ? 0x80 : 0x01;

			*byte ^= mask;
			load_elf(&f, &boot, NULL);
			*byte ^= mask;
		}
	}
}

/* ---- bzImage ------------------------------------------------------------------------------ */

#define BZ_SETUP  (2 * 512u) /* boot sector and one more */
#define BZ_LENGTH 0x400u

struct bz_file {
	uint8_t bytes[BZ_SETUP + BZ_LENGTH];
};

static struct setup_header *bz_header(struct bz_file *f)
{
	return (struct setup_header *)(f->bytes + 0x1f1);
}

static struct bz_file make_bzimage(void)
{
	struct bz_file f = { 0 };

	*bz_header(&f) = (struct setup_header){
		.setup_sects = 1,
		.syssize = BZ_LENGTH / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* jmp 0x26c */
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = 1000,
		.pref_address = 16 * MIB,
		.init_size = (uint32_t)(8 * MIB),
	};
	for (size_t i = 0; i < BZ_LENGTH; i++)
		f.bytes[BZ_SETUP + i] = (uint8_t)(i * 3);
	return f;
}

static void bzimage_is_loaded_where_it_wants_to_be(void **state)
{
	struct bz_file f = make_bzimage();
	struct error err = { 0 };
	struct boot_params params;
	struct boot_state boot;

	(void)state;
	assert_int_equal(load(make_file(&f, sizeof(f)), -1, "quiet", &boot, &err), 0);
	assert_int_equal(boot.kind, BOOT_LINUX);
	assert_int_equal(boot.entry, 16 * MIB + 0x200);
	assert_memory_equal(guest_memory_at(&memory, 16 * MIB, BZ_LENGTH), f.bytes + BZ_SETUP,
			    BZ_LENGTH);
	guest_memory_read(&memory, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
	assert_int_equal(params.hdr.version, 0x020f);
	assert_int_equal(params.hdr.init_size, 8 * MIB);
	assert_int_equal(params.hdr.type_of_loader, 0xff);
	assert_int_equal(params.sentinel, 0);
	assert_string_equal(guest_memory_at(&memory, LAYOUT_CMDLINE, 6), "quiet");
	/* A signature behind it is not loaded; the last paragraph need not be whole. */
	bz_header(&f)->syssize = BZ_LENGTH / 16 - 1;
	assert_int_equal(load(make_file(&f, sizeof(f) - 30), -1, "", &boot, &err), 0);
	bz_header(&f)->syssize = BZ_LENGTH / 16;
	assert_int_equal(load(make_file(&f, sizeof(f) - 15), -1, "", &boot, &err), 0);
}

static void older_headers_are_taken_as_far_as_they_go(void **state)
{
	struct bz_file f = make_bzimage();
	struct error err = { 0 };
	struct boot_params params;
	struct boot_state boot;

	(void)state;
	/* The header ends at 0x264; what stands there belongs to something else. */
	bz_header(&f)->version = 0x020c;
	bz_header(&f)->jump = 0x62eb;
	bz_header(&f)->kernel_info_offset = 0x12345678;
	assert_int_equal(load(make_file(&f, sizeof(f)), -1, "", &boot, &err), 0);
	guest_memory_read(&memory, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
	assert_int_equal(params.hdr.init_size, 8 * MIB);
	assert_int_equal(params.hdr.handover_offset, 0);
	assert_int_equal(params.hdr.kernel_info_offset, 0);
}

static void assert_bz_refused(struct bz_file *f, const char *why)
{
	assert_refused(make_file(f, sizeof(*f)), why);
}

static void bzimages_that_lie_are_refused(void **state)
{
	struct bz_file f;

	(void)state;
#define WITH(change, why)                   \
	do {                                \
		f = make_bzimage();         \
		bz_header(&f)->change;      \
		assert_bz_refused(&f, why); \
	} while (0)
	WITH(header = 0, "neither an ELF file nor a bzImage");
	WITH(boot_flag = 0, "neither an ELF file nor a bzImage");
	WITH(version = 0x020b, "protocol 2.11; 2.12 is needed");
	WITH(xloadflags = 0, "without a 64-bit entry point");
	WITH(loadflags = 0, "below 1 MiB");
	WITH(jump = 0x10eb, "ends at 0x212, too early");
	WITH(syssize = 0, "nothing to load");
	WITH(syssize = 0x20, "nothing to load");
	WITH(syssize = BZ_LENGTH / 16 + 1, "cut off");
	WITH(syssize = UINT32_MAX, "cut off");
	WITH(setup_sects = 0, "cut off");
	WITH(setup_sects = 255, "cut off");
	WITH(pref_address = 0, "1 MiB to 1 GiB");
	WITH(pref_address = UINT64_MAX, "1 MiB to 1 GiB");
	WITH(pref_address = 1024 * MIB, "1 MiB to 1 GiB");
	WITH(pref_address = 63 * MIB, "there are 64 MiB");
	WITH(pref_address = 100 * MIB, "there are 64 MiB");
	WITH(init_size = UINT32_MAX, "there are 64 MiB");
#undef WITH
	f = make_bzimage();
	for (size_t len = 0; len < sizeof(f) - 16; len += len < 0x300 ? 1 : 16) {
		struct boot_state boot;

		assert_true(load(make_file(&f, len), -1, "", &boot, NULL) < 0);
	}
}

/* ---- initrd and command line -------------------------------------------------------------- */

static void initrd_lies_at_the_end_of_memory(void **state)
{
	struct elf_file f = make_elf(true);
	struct error err = { 0 };
	struct boot_state boot;
	uint64_t module;

	(void)state;
	assert_int_equal(
		load(make_file(&f, sizeof(f)), make_file("hello world", 11), "", &boot, &err), 0);
	assert_int_equal(peek32(LAYOUT_START_INFO + 12), 1);
	module = peek64(LAYOUT_START_INFO + 16);
	assert_int_equal(peek64(module), 64 * MIB - 4096);
	assert_int_equal(peek64(module + 8), 11);
	assert_memory_equal(guest_memory_at(&memory, 64 * MIB - 4096, 11), "hello world", 11);
}

static void initrd_stays_below_what_the_kernel_can_reach(void **state)
{
	struct bz_file f = make_bzimage();
	struct error err = { 0 };
	struct boot_params params;
	struct boot_state boot;

	(void)state;
	bz_header(&f)->xloadflags = XLF_KERNEL_64;
	bz_header(&f)->initrd_addr_max = (uint32_t)(32 * MIB - 1);
	assert_int_equal(load(make_file(&f, sizeof(f)), make_file("x", 1), "", &boot, &err), 0);
	guest_memory_read(&memory, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
	assert_int_equal(params.hdr.ramdisk_image, 32 * MIB - 4096);
	assert_int_equal(params.hdr.ramdisk_size, 1);
	bz_header(&f)->initrd_addr_max = (uint32_t)(20 * MIB);
	assert_true(load(make_file(&f, sizeof(f)), make_file("x", 1), "", &boot, &err) < 0);
	assert_non_null(strstr(err.text, "the initrd: 1 MiB do not fit above the kernel"));
}

static void initrd_that_does_not_fit_is_refused(void **state)
{
	struct elf_file f = make_elf(true);
	struct error err = { 0 };
	struct boot_state boot;
	int initrd;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t sizes[] = { 63 * MIB, 64 * MIB, 65 * MIB, UINT64_C(1) << 50 };

		initrd = memfd_create("initrd", MFD_CLOEXEC);
		assert_int_equal(ftruncate(initrd, (off_t)sizes[i]), 0);
		assert_true(load(make_file(&f, sizeof(f)), initrd, "", &boot, &err) < 0);
		assert_non_null(strstr(err.text, "do not fit above the kernel"));
	}
	/* Exactly what is left fits. */
	initrd = memfd_create("initrd", MFD_CLOEXEC);
	assert_int_equal(ftruncate(initrd, (off_t)(63 * MIB - 0x3000)), 0);
	assert_int_equal(load(make_file(&f, sizeof(f)), initrd, "", &boot, &err), 0);
	/* An empty one is none. */
	assert_int_equal(load(make_file(&f, sizeof(f)), make_file("", 0), "", &boot, &err), 0);
	assert_int_equal(peek32(LAYOUT_START_INFO + 12), 0);
	assert_true(load(make_file(&f, sizeof(f)), open("/dev/null", O_RDONLY | O_CLOEXEC), "",
			 &boot, &err) < 0);
	assert_non_null(strstr(err.text, "neither a regular file"));
}

static void command_lines_have_a_limit(void **state)
{
	struct bz_file bz = make_bzimage();
	struct elf_file f = make_elf(true);
	char line[BOOT_CMDLINE_MAX + 2];
	struct error err = { 0 };
	struct boot_state boot;

	(void)state;
	memset(line, 'a', sizeof(line));
	line[BOOT_CMDLINE_MAX] = '\0';
	assert_int_equal(load(make_file(&f, sizeof(f)), -1, line, &boot, &err), 0);
	assert_string_equal(guest_memory_at(&memory, LAYOUT_CMDLINE, sizeof(line)), line);
	line[BOOT_CMDLINE_MAX] = 'a';
	line[BOOT_CMDLINE_MAX + 1] = '\0';
	assert_int_equal(load(make_file(&f, sizeof(f)), -1, line, &boot, &err), -E2BIG);
	/* The kernel's own limit. */
	line[1000] = '\0';
	assert_int_equal(load(make_file(&bz, sizeof(bz)), -1, line, &boot, &err), 0);
	line[1000] = 'a';
	line[1001] = '\0';
	assert_int_equal(load(make_file(&bz, sizeof(bz)), -1, line, &boot, &err), -E2BIG);
	assert_string_equal(err.text,
			    "the kernel's command line has 1001 characters; it takes at most 1000");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(elf_with_note_is_pvh),
		TEST(elf_without_note_gets_a_zero_page),
		TEST(another_note_before_does_not_matter),
		TEST(elf_headers_that_lie_are_refused),
		TEST(elf_notes_that_lie_are_refused),
		TEST(segments_that_overlap_are_refused),
		TEST(no_elf_file_is_too_broken),
		TEST(bzimage_is_loaded_where_it_wants_to_be),
		TEST(older_headers_are_taken_as_far_as_they_go),
		TEST(bzimages_that_lie_are_refused),
		TEST(initrd_lies_at_the_end_of_memory),
		TEST(initrd_stays_below_what_the_kernel_can_reach),
		TEST(initrd_that_does_not_fit_is_refused),
		TEST(command_lines_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
