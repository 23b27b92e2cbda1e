# SPDX-License-Identifier: Apache-2.0
# hull's build: one Makefile, not recursive. Objects and programs go to build/, laid out as an
# installed tree (build/bin, build/libexec/hull), so that hull finds its helpers in both the same way.
# `make help` lists the targets.

VERSION := 0.1.0

PREFIX ?= /usr/local
BINDIR := $(PREFIX)/bin
LIBEXECDIR := $(PREFIX)/libexec/hull
MANDIR := $(PREFIX)/share/man

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config

# ---- flags ------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection

ifdef SANITIZE
BUILD := build/sanitize
MODE_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DHULL_SANITIZE=1
MODE_LDFLAGS := -fsanitize=address,undefined -pie
STATIC_LINK := $(MODE_LDFLAGS)
YAJL_LIBS := -lyajl
STATIC_FLAG :=
else
BUILD := build
MODE_CFLAGS := -O2 -g -D_FORTIFY_SOURCE=2
MODE_LDFLAGS := -pie
# The runtime itself is one static program: it loads nothing, so it starts in a fraction of the time,
# and no library of the host is ever mapped in a process that a container can see.
STATIC_LINK := -static-pie
YAJL_LIBS := -l:libyajl_s.a
STATIC_FLAG := --static
endif
LDHARDENING := -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--gc-sections

CPPFLAGS_ALL := -D_GNU_SOURCE -I. -DHULL_VERSION='"$(VERSION)"' $(CPPFLAGS)
CFLAGS_ALL := -std=gnu17 $(WARNINGS) $(HARDENING) -ffunction-sections -fdata-sections $(MODE_CFLAGS) $(CFLAGS)

HULL_LIBS = $(shell $(PKG_CONFIG) --libs $(STATIC_FLAG) libseccomp libcap) $(YAJL_LIBS)
IMAGE_LIBS = $(shell $(PKG_CONFIG) --libs libarchive libcrypto) -lyajl
TEST_LIBS = $(shell $(PKG_CONFIG) --libs cmocka libseccomp libcap libarchive libcrypto) -lyajl

# ---- sources ----------------------------------------------------------------------------------

LIB_DIRS := base oci namespaces cgroups sandbox runtime
LIB_SRCS := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
IMAGE_SRCS := $(wildcard oci/image/*.c)
HULL_SRCS := $(wildcard cmd/hull/*.c)
HULL_IMAGE_SRCS := $(wildcard cmd/hull-image/*.c)
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_LIB_SRCS := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRCS := $(wildcard tests/bench/*.c)
HELPER_SRCS := $(wildcard tests/integration/helpers/*.c)
MAN_PAGES := $(wildcard man/*.[1578])
C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

LIB := $(BUILD)/libhull.a
IMAGE_LIB := $(BUILD)/libimage.a
HULL := $(BUILD)/bin/hull
HULL_IMAGE := $(BUILD)/libexec/hull/hull-image
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRCS))
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRCS))
HELPERS := $(patsubst tests/integration/helpers/%.c,$(BUILD)/helpers/%,$(HELPER_SRCS))
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRCS))

PROGRAMS := $(HULL) $(if $(HULL_IMAGE_SRCS),$(HULL_IMAGE))

# ---- building ---------------------------------------------------------------------------------

.PHONY: all
all: $(PROGRAMS) ## build the programs (default)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(LIB): $(call obj,$(LIB_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^

$(IMAGE_LIB): $(call obj,$(IMAGE_SRCS))
	@rm -f $@
	$(AR) rcs $@ $^

$(HULL): $(call obj,$(HULL_SRCS)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(STATIC_LINK) $(LDHARDENING) $(LDFLAGS) $^ $(HULL_LIBS) -o $@

$(HULL_IMAGE): $(call obj,$(HULL_IMAGE_SRCS)) $(IMAGE_LIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(MODE_LDFLAGS) $(LDHARDENING) $(LDFLAGS) $^ $(IMAGE_LIBS) -o $@

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(call obj,$(UNIT_LIB_SRCS)) $(IMAGE_LIB) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(MODE_LDFLAGS) $(LDFLAGS) $^ $(TEST_LIBS) -o $@

$(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -std=gnu17 -O2 -Wall -Wextra $< -o $@

$(BUILD)/helpers/%: tests/integration/helpers/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -std=gnu17 -O2 -Wall -Wextra -static $< -o $@

$(BUILD)/fuzz/%: tests/fuzz/%.c $(LIB_SRCS) $(IMAGE_SRCS)
	@mkdir -p $(@D)
	clang $(CPPFLAGS_ALL) -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined $< \
		$(wildcard base/*.c oci/*.c oci/image/*.c) $(IMAGE_LIBS) -o $@

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- everything else --------------------------------------------------------------------------

.PHONY: unit
unit: $(UNIT_TESTS)
	@set -e; for t in $(UNIT_TESTS); do echo "# $$t"; $$t; done

.PHONY: clean
clean: ## remove build/
	rm -rf build

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:
