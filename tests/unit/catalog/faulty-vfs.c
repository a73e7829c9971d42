/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "faulty-vfs.h"

#include <errno.h>
#include <string.h>

typedef struct {
  sqlite3_file base;
  sqlite3_file *real; /* right behind this struct */
  bool is_log;
} File;

static sqlite3_vfs *real_vfs;
static int countdown;
static int fault_rc;
static int fault_errno;
static bool fault_stays;
static bool failed;
static long unsynced;

static sqlite3_file *
real (sqlite3_file *file)
{
  return ((File *)file)->real;
}

/* SQLITE_OK, or the fault when it is this operation's turn. */
static int
turn (void)
{
  if (countdown == 0 || (countdown > 1 && countdown-- > 1))
    return SQLITE_OK;
  countdown = fault_stays ? 1 : 0;
  failed = true;
  errno = fault_errno;
  return fault_rc;
}

static int
file_close (sqlite3_file *file)
{
  return real (file)->pMethods->xClose (real (file));
}

static int
file_read (sqlite3_file *file, void *data, int length, sqlite3_int64 offset)
{
  return real (file)->pMethods->xRead (real (file), data, length, offset);
}

static int
file_write (sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
  int rc = turn ();
  if (rc != SQLITE_OK)
    return rc;
  if (((File *)file)->is_log)
    unsynced += length;
  return real (file)->pMethods->xWrite (real (file), data, length, offset);
}

static int
file_truncate (sqlite3_file *file, sqlite3_int64 size)
{
  int rc = turn ();
  return rc != SQLITE_OK ? rc : real (file)->pMethods->xTruncate (real (file), size);
}

static int
file_sync (sqlite3_file *file, int flags)
{
  int rc = turn ();
  if (rc != SQLITE_OK)
    return rc;
  /* Whether it is asked for is what counts here; thousands of real ones would take minutes. */
  (void)flags;
  if (((File *)file)->is_log)
    unsynced = 0;
  return SQLITE_OK;
}

static int
file_size (sqlite3_file *file, sqlite3_int64 *size)
{
  return real (file)->pMethods->xFileSize (real (file), size);
}

static int
file_lock (sqlite3_file *file, int level)
{
  return real (file)->pMethods->xLock (real (file), level);
}

static int
file_unlock (sqlite3_file *file, int level)
{
  return real (file)->pMethods->xUnlock (real (file), level);
}

static int
file_check_reserved_lock (sqlite3_file *file, int *result)
{
  return real (file)->pMethods->xCheckReservedLock (real (file), result);
}

static int
file_control (sqlite3_file *file, int op, void *argument)
{
  return real (file)->pMethods->xFileControl (real (file), op, argument);
}

static int
file_sector_size (sqlite3_file *file)
{
  return real (file)->pMethods->xSectorSize (real (file));
}

static int
file_characteristics (sqlite3_file *file)
{
  return real (file)->pMethods->xDeviceCharacteristics (real (file));
}

static int
file_shm_map (sqlite3_file *file, int region, int size, int extend, void volatile **memory)
{
  return real (file)->pMethods->xShmMap (real (file), region, size, extend, memory);
}

static int
file_shm_lock (sqlite3_file *file, int offset, int count, int flags)
{
  return real (file)->pMethods->xShmLock (real (file), offset, count, flags);
}

static void
file_shm_barrier (sqlite3_file *file)
{
  real (file)->pMethods->xShmBarrier (real (file));
}

static int
file_shm_unmap (sqlite3_file *file, int remove)
{
  return real (file)->pMethods->xShmUnmap (real (file), remove);
}

static const sqlite3_io_methods methods = {
  .iVersion = 2,
  .xClose = file_close,
  .xRead = file_read,
  .xWrite = file_write,
  .xTruncate = file_truncate,
  .xSync = file_sync,
  .xFileSize = file_size,
  .xLock = file_lock,
  .xUnlock = file_unlock,
  .xCheckReservedLock = file_check_reserved_lock,
  .xFileControl = file_control,
  .xSectorSize = file_sector_size,
  .xDeviceCharacteristics = file_characteristics,
  .xShmMap = file_shm_map,
  .xShmLock = file_shm_lock,
  .xShmBarrier = file_shm_barrier,
  .xShmUnmap = file_shm_unmap,
};

static int
open_file (sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *flags_out)
{
  (void)vfs;
  File *file = (File *)base;
  file->real = (sqlite3_file *)(file + 1);
  file->is_log = (flags & SQLITE_OPEN_WAL) != 0;
  int rc = real_vfs->xOpen (real_vfs, name, file->real, flags, flags_out);
  base->pMethods = file->real->pMethods ? &methods : NULL;
  return rc;
}

void
faulty_vfs_register (void)
{
  static sqlite3_vfs vfs;
  real_vfs = sqlite3_vfs_find (NULL);
  vfs = *real_vfs;
  vfs.zName = "faulty";
  vfs.szOsFile = (int)sizeof (File) + real_vfs->szOsFile;
  vfs.pNext = NULL;
  vfs.xOpen = open_file;
  sqlite3_vfs_register (&vfs, 1);
}

void
faulty_vfs_fail_at (int n, int rc, int errsv, bool stays)
{
  countdown = n;
  fault_rc = rc;
  fault_errno = errsv;
  fault_stays = stays;
  failed = false;
}

bool
faulty_vfs_has_failed (void)
{
  return failed;
}

long
faulty_vfs_unsynced (void)
{
  return unsynced;
}
