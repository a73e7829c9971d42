/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pulls on a real QEMU, step by step, without the job layer: the test is the guest, the daemon, and the reader.
 */
#pragma once

#include "backend.h"
#include "suite.h"
#include "vm.h"
#include "worker.h"

#include <libnbd.h>

#define MIB (1ull << 20)
#define SIZE (32 * MIB)

typedef struct nbd_handle NbdHandle;
G_DEFINE_AUTOPTR_CLEANUP_FUNC (NbdHandle, nbd_close)

typedef struct {
  char *folder;
  char *exports; /* the export folder */
  BkTestVm *vm;
  BkBackend *backend;
  bool offline; /* the backend is one that serves the VM while it is shut off, too */
  json_object *recorded; /* what that has given to be kept */
  BkVmState *state; /* as of the last new run */
  BkRun *run;
  GError *error;
  gboolean ok;
} Fixture;

/* Runs @tests in a folder of their own, and ends what is left in it. */
int run_tests (const char *name, const TTest *const *tests);

void set_up (Fixture *f, const BkTestDisk *disks, unsigned n);
/* The same for a backend that serves the VM while it is shut off, too. */
void set_up_offline (Fixture *f, const BkTestDisk *disks, unsigned n);
/* Waits until the firmware has taken all disks @disks into their iothreads, which only it can do; set_up() does so, too. */
void wait_for_iothreads (Fixture *f, const BkTestDisk *disks, unsigned n);
void tear_down (Fixture *f);
/* A new backend for the same VM, as after the death of the daemon; run becomes what its JSON form says. */
void restart_daemon (Fixture *f);

/* A planned pull of disks @first to @first + @n - 1 with scratch in @folder; @base: bitmaps of earlier runs, by commas. (transfer full) */
BkRun *new_run (Fixture *f, unsigned number, unsigned first, unsigned n, const char *base);

/* Steps of f->run in a worker thread; they set ok and error. */
void work_inspect (gpointer data);
void work_snapshot (gpointer data);
void work_export (gpointer data);
void work_check (gpointer data);
void work_release (gpointer data);
void work_rollback (gpointer data);
/* Runs a step, which must succeed. */
void must (Fixture *f, void (*work) (gpointer data));
/* Runs a step, which must fail with @code; the message contains @text. */
void must_fail (Fixture *f, void (*work) (gpointer data), BkErrorCode code, const char *text);

/* Gives f->run a file system of 4 MiB for scratch; false where that is not allowed. */
bool mount_small (Fixture *f);
void unmount_small (Fixture *f);

/* A connection to @export at "unix:PATH" or "tcp:HOST:PORT"; @context may be NULL. Fails the test. (transfer full) */
NbdHandle *connect_nbd (const char *address, const char *export, const char *context);

/* A connection that asks @export for 32 MiB and takes nothing of it. (transfer full) */
NbdHandle *stalled_reader (const char *address, const char *export);

/* Reads all that changed on @disk into @image (the content of the backup before, or zeroes), as a reader would; any thread. */
void pull_disk (const BkRun *run, const BkRunDisk *disk, uint8_t *image);

/* Fails the test unless QEMU answers and runs. */
void assert_vm_lives (Fixture *f);
/* Fails the test unless they are the same. */
void assert_same (const uint8_t *image, const uint8_t *expected, uint64_t size, const char *what);
/* Fails the test when the VM or the export folder holds anything of ours but checkpoints. */
void assert_clean (Fixture *f);
