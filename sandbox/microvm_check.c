/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a microVM cannot be asked for: whatever is the host kernel's own and cannot be carried into another kernel. Each is
 * refused by name, with the JSON path. hull-microvm(7) lists them.
 */
#include <string.h>
#include <sys/sysmacros.h>

#include "microvm/kvm.h"
#include "sandbox/container.h"
#include "sandbox/microvm.h"
#include "sandbox/seccomp.h"

static int refuse(struct error *err, const char *path, const char *why)
{
	return error_set(err, ENOTSUP, "%s: %s; use --sandbox container", path, why);
}

/* Namespaces that are not new would be the host's, or another container's. */
static int check_namespaces(const struct oci_config *config, struct error *err)
{
	static const enum oci_namespace_type needed[] = { OCI_NS_PID, OCI_NS_NETWORK, OCI_NS_MOUNT,
							  OCI_NS_IPC, OCI_NS_UTS };

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!oci_namespace_find(config, needed[i]))
			return error_set(
				err, ENOTSUP,
				"/linux/namespaces: a microVM cannot share the host's %s namespace: "
				"add {\"type\": \"%s\"}, or use --sandbox container",
				oci_namespace_name(needed[i]), oci_namespace_name(needed[i]));
	for (size_t i = 0; i < config->linux_->namespaces.len; i++) {
		const struct oci_namespace *ns = &config->linux_->namespaces.items[i];

		if (ns->path && ns->type != OCI_NS_NETWORK)
			return error_set(
				err, ENOTSUP,
				"/linux/namespaces/%zu/path: a microVM cannot join a %s namespace of the "
				"host's; use --sandbox container",
				i, oci_namespace_name((enum oci_namespace_type)ns->type));
	}
	return 0;
}

/* Devices that every Linux has, and so the guest; by their numbers. */
static bool guest_has_device(const struct oci_device *d)
{
	static const struct {
		int major, first, last;
	} known[] = {
		{ 1, 1, 11 },     /* mem, null, zero, full, random, urandom, kmsg */
		{ 5, 0, 2 },      /* tty, console, ptmx */
		{ 10, 200, 200 }, /* net/tun */
		{ 10, 229, 229 }, /* fuse */
	};

	if (!strcmp(d->type, "p"))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(d->type, "b") != 0 && d->major.v == known[i].major &&
		    d->minor.v >= known[i].first && d->minor.v <= known[i].last)
			return true;
	return false;
}

static int check_linux(const struct oci_linux *l, struct error *err)
{
	for (size_t i = 0; i < l->devices.len; i++)
		if (!guest_has_device(&l->devices.items[i]))
			return error_set(
				err, ENOTSUP,
				"/linux/devices/%zu: `%s` is a device of the host's, which a "
				"microVM does not have; use --sandbox container",
				i, l->devices.items[i].path);
	if (l->intel_rdt)
		return refuse(err, "/linux/intelRdt", "a microVM has no resctrl");
	if (l->seccomp && l->seccomp->listener_path && seccomp_notifies(l->seccomp))
		return refuse(err, "/linux/seccomp/listenerPath",
			      "an agent of the host's cannot look into a microVM");
	return 0;
}

/* The machine is ours: nothing of the host's hardware is passed through. */
static int check_hardware(const struct oci_vm *vm, struct error *err)
{
	const struct oci_vm_hw_config *hw = vm->hw_config;

	if (vm->image)
		return refuse(err, "/vm/image",
			      "a disk image as the machine's root is not supported");
	if (vm->hypervisor)
		return refuse(err, "/vm/hypervisor", "hull has its own");
	if (hw && hw->device_tree)
		return refuse(err, "/vm/hwConfig/deviceTree",
			      "the machine is described by ACPI tables of hull's");
	if (hw && hw->dtdevs.len)
		return refuse(err, "/vm/hwConfig/dtdevs",
			      "devices of the host are not passed through");
	if (hw && hw->iomems.len)
		return refuse(err, "/vm/hwConfig/iomems",
			      "memory of the host's devices is not passed through");
	if (hw && hw->irqs.len)
		return refuse(err, "/vm/hwConfig/irqs",
			      "interrupts of the host are not passed through");
	return 0;
}

/* Who brings a kernel may bring one that runs where ordinary ones do not. */
static int check_host(const struct oci_config *config, struct error *err)
{
	struct kvm kvm;
	int r;

	if (!config->vm || !config->vm->kernel)
		return kvm_check(err);
	r = kvm_open(&kvm, err);
	if (r == 0)
		kvm_close(&kvm);
	return r;
}

int microvm_check(const struct oci_config *config, struct error *err)
{
	int r = container_check(config, err);

	if (r < 0)
		return r;
	if (!config->linux_)
		return error_set(err, EINVAL, "/linux: is missing");
	if (config->vm)
		r = check_hardware(config->vm, err);
	if (r == 0)
		r = check_namespaces(config, err);
	if (r == 0)
		r = check_linux(config->linux_, err);
	return r < 0 ? r : check_host(config, err);
}
