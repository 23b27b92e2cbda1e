/* SPDX-License-Identifier: Apache-2.0 */
/* Why a virtual machine ended. */
#ifndef HULL_MICROVM_ENDING_H
#define HULL_MICROVM_ENDING_H

enum vmm_end_reason {
	VMM_END_NONE,     /* it has not */
	VMM_END_POWEROFF, /* the guest switched itself off */
	VMM_END_RESET,    /* the guest began anew, which ends a microVM */
	VMM_END_CRASH,    /* the guest's kernel panicked, a triple fault, or KVM gave up */
	VMM_END_KILLED,   /* by a signal, or a request, to the monitor */
};

#endif
