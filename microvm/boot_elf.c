/* SPDX-License-Identifier: Apache-2.0 */
/* A kernel that is a 64-bit ELF file, as Linux' vmlinux is; see boot.h and elf(5). */
#include <elf.h>
#include <string.h>

#include "microvm/boot.h"
#include "microvm/layout.h"

#define SEGMENTS_MAX 64          /* Linux has five or six */
#define NOTES_MAX    (64u << 10) /* bytes of a segment of notes */

#define XEN_NAME              "Xen"
#define XEN_NOTE_PHYS32_ENTRY 18u

struct elf {
	int file;
	uint64_t size; /* of the file */
	Elf64_Ehdr header;
	Elf64_Phdr segments[SEGMENTS_MAX];
	unsigned segment_count;
	uint64_t end;   /* of the segments in memory */
	uint64_t entry; /* PVH; 0: none */
};

static int read_headers(struct elf *elf, struct error *err)
{
	Elf64_Ehdr *h = &elf->header;
	int r = boot_read(elf->file, 0, h, sizeof(*h), "its ELF header", err);

	if (r < 0)
		return r;
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	    h->e_machine != EM_X86_64)
		return error_set(err, ENOEXEC, "it is an ELF file, but not one for x86-64");
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return error_set(err, ENOEXEC, "it is an ELF file, but no program (its type is %u)",
				 h->e_type);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || !h->e_phnum || h->e_phnum > SEGMENTS_MAX)
		return error_set(
			err, ENOEXEC,
			"it has %u program headers of %u bytes; 1 to %u of %zu are possible",
			h->e_phnum, h->e_phentsize, SEGMENTS_MAX, sizeof(Elf64_Phdr));
	if (h->e_phoff > elf->size)
		return error_set(err, ENOEXEC, "its program headers lie beyond its end");
	elf->segment_count = h->e_phnum;
	return boot_read(elf->file, h->e_phoff, elf->segments,
			 elf->segment_count * sizeof(Elf64_Phdr), "its program headers", err);
}

static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

/* Checks segment i against the file, the memory, and the segments before it. */
static int check_segment(const struct elf *elf, unsigned i, uint64_t low_end, struct error *err)
{
	const Elf64_Phdr *p = &elf->segments[i];

	if (p->p_filesz > p->p_memsz)
		return error_set(err, ENOEXEC, "segment %u is larger in the file than in memory",
				 i);
	if (p->p_offset > elf->size || p->p_filesz > elf->size - p->p_offset)
		return error_set(err, ENOEXEC, "segment %u lies beyond the file's end", i);
	if (p->p_paddr < LAYOUT_KERNEL)
		return error_set(err, ENOEXEC, "segment %u is for %#llx, below 1 MiB", i,
				 (unsigned long long)p->p_paddr);
	if (p->p_paddr > low_end || p->p_memsz > low_end - p->p_paddr)
		return error_set(err, ENOMEM,
				 "segment %u is for %#llx bytes at %#llx, but memory ends at %#llx",
				 i, (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr,
				 (unsigned long long)low_end);
	for (unsigned j = 0; j < i; j++)
		if (elf->segments[j].p_type == PT_LOAD && elf->segments[j].p_memsz &&
		    overlap(p, &elf->segments[j]))
			return error_set(err, ENOEXEC, "segments %u and %u overlap", j, i);
	return 0;
}

/* What is zeroed memory in the guest is that already. */
static int load_segments(const struct guest_memory *memory, struct elf *elf, uint64_t low_end,
			 struct error *err)
{
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const Elf64_Phdr *p = &elf->segments[i];
		int r;

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		r = check_segment(elf, i, low_end, err);
		if (r == 0 && p->p_filesz)
			r = guest_memory_load(memory, p->p_paddr, elf->file, p->p_offset,
					      p->p_filesz, err);
		if (r < 0)
			return r;
		if (p->p_paddr + p->p_memsz > elf->end)
			elf->end = p->p_paddr + p->p_memsz;
	}
	if (!elf->end)
		return error_set(err, ENOEXEC, "it has nothing to load");
	return 0;
}

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

/* Looks through len bytes of notes for the PVH entry point: a number of 4 or 8 bytes. */
static int search_notes(struct elf *elf, const uint8_t *notes, size_t len, struct error *err)
{
	Elf64_Nhdr note;

	for (size_t at = 0; len - at >= sizeof(note);) {
		size_t name, content;

		memcpy(&note, notes + at, sizeof(note));
		name = at + sizeof(note);
		if (note.n_namesz > len - name || align4(note.n_namesz) > len - name)
			return error_set(err, ENOEXEC, "a note's name runs over the notes' end");
		content = name + align4(note.n_namesz);
		if (note.n_descsz > len - content)
			return error_set(err, ENOEXEC, "a note runs over the notes' end");
		if (note.n_type == XEN_NOTE_PHYS32_ENTRY && note.n_namesz == sizeof(XEN_NAME) &&
		    !memcmp(notes + name, XEN_NAME, sizeof(XEN_NAME))) {
			if (note.n_descsz != 4 && note.n_descsz != 8)
				return error_set(err, ENOEXEC, "its PVH entry point has %u bytes",
						 note.n_descsz);
			memcpy(&elf->entry, notes + content, note.n_descsz);
			return 0;
		}
		if (align4(note.n_descsz) > len - content)
			return 0; /* the last one, unpadded */
		at = content + align4(note.n_descsz);
	}
	return 0;
}

static int read_notes(struct elf *elf, struct error *err)
{
	for (unsigned i = 0; i < elf->segment_count && !elf->entry; i++) {
		const Elf64_Phdr *p = &elf->segments[i];
		_cleanup_free_ uint8_t *notes = NULL;
		int r;

		if (p->p_type != PT_NOTE || !p->p_filesz)
			continue;
		if (p->p_filesz > NOTES_MAX)
			return error_set(err, ENOEXEC, "it has %llu bytes of notes",
					 (unsigned long long)p->p_filesz);
		if (p->p_offset > elf->size || p->p_filesz > elf->size - p->p_offset)
			return error_set(err, ENOEXEC, "segment %u lies beyond the file's end", i);
		notes = malloc(p->p_filesz);
		if (!notes)
			return error_errno(err, ENOMEM, "read its notes");
		r = boot_read(elf->file, p->p_offset, notes, p->p_filesz, "its notes", err);
		if (r == 0)
			r = search_notes(elf, notes, p->p_filesz, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool loaded_at(const struct elf *elf, uint64_t address)
{
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const Elf64_Phdr *p = &elf->segments[i];

		if (p->p_type == PT_LOAD && address >= p->p_paddr &&
		    address - p->p_paddr < p->p_memsz)
			return true;
	}
	return false;
}

int boot_load_elf(const struct guest_memory *memory, int file, uint64_t size, uint64_t low_end,
		  struct boot_kernel *kernel, struct error *err)
{
	struct elf elf = { .file = file, .size = size };
	int r = read_headers(&elf, err);

	if (r == 0)
		r = read_notes(&elf, err);
	if (r == 0)
		r = load_segments(memory, &elf, low_end, err);
	if (r < 0)
		return r;
	kernel->kind = elf.entry ? BOOT_PVH : BOOT_LINUX;
	kernel->entry = elf.entry ? elf.entry : elf.header.e_entry;
	if (!loaded_at(&elf, kernel->entry))
		return error_set(err, ENOEXEC, "its entry point %#llx is in none of its segments",
				 (unsigned long long)kernel->entry);
	if (kernel->kind == BOOT_LINUX && elf.end > LAYOUT_MAPPED)
		return error_set(err, ENOEXEC, "it ends at %#llx, above the first GiB",
				 (unsigned long long)elf.end);
	kernel->end = elf.end;
	kernel->initrd_end = low_end;
	kernel->cmdline_max = BOOT_CMDLINE_MAX;
	/* What a bzImage would have said: Linux looks at these. */
	kernel->header = (struct setup_header){
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.kernel_alignment = 0x1000000,
	};
	return 0;
}
