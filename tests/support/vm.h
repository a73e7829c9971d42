/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A real QEMU without a guest, which the test plays: it writes to the disks through QEMU's own block layer, as a
 * device would, and keeps a model of what each disk must hold.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct BkTestVm BkTestVm;

typedef struct {
  const char *name;   /* device ID and node name */
  const char *format; /* qcow2 or raw */
  uint64_t size;
  bool iothread; /* in one of its own; QEMU's qemu-io command cannot write zeroes to it, or discard */
  bool drive;    /* as -drive, whose node has a name that QEMU makes up */
  bool scsi;     /* on a controller of its own, NAME-ctl; the iothread is the controller's */
  bool throttle; /* under a filter of the user's, NAME-throttle */
} BkTestDisk;

/* Makes the images in @folder (those that exist are taken as they are) and starts QEMU with two monitors. */
BkTestVm *bk_test_vm_start (const char *folder, const BkTestDisk *disks, unsigned n);
/* @clean: quit, so that bitmaps are stored; else SIGKILL. */
void bk_test_vm_stop (BkTestVm *vm, bool clean);
/* Starts a stopped one again, on its images; the model stays what it was. */
void bk_test_vm_restart (BkTestVm *vm);
void bk_test_vm_free (BkTestVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkTestVm, bk_test_vm_free)

/* Socket of the monitor that the test leaves alone. */
const char *bk_test_vm_qmp (BkTestVm *vm);
pid_t bk_test_vm_pid (BkTestVm *vm);

/* Main thread only. A guest's write, write-zeroes, or discard; the model follows. */
void bk_test_vm_write (BkTestVm *vm, const char *disk, uint8_t pattern, uint64_t offset, uint64_t length);
void bk_test_vm_zero (BkTestVm *vm, const char *disk, uint64_t offset, uint64_t length);

/* A copy of the model of @disk now: (transfer full), size bytes. */
uint8_t *bk_test_vm_content (BkTestVm *vm, const char *disk);

/* Runs one QMP command on the test's own monitor; returns the whole answer as text. (transfer full) */
char *bk_test_vm_execute (BkTestVm *vm, const char *command);

/* Fails the test when QEMU has a node, job or bitmap whose name begins with "bkd-", but bitmaps that contain "-cp-". */
void bk_test_vm_assert_clean (BkTestVm *vm);

/* Fails the test unless the visible content of the image @path is @expected. */
void bk_test_assert_content (const char *path, const char *format, const uint8_t *expected, uint64_t size);
