/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A disk of a VM as a backend sees it now. Plain values, owned by their holder.
 */
#pragma once

#include "bk-types.h"

typedef struct {
  char *name;
  uint64_t granularity;
  uint64_t count; /* dirty bytes */
  bool persistent;
  bool recording;
  bool cumulative; /* records for ever, what later ones record, too; else until the next one is made */
  bool busy;
  bool inconsistent; /* left in use by a crash: good for nothing but removal */
} BkBitmap;

typedef struct {
  char *name;     /* what users call it: see bk_block_graph_disks() */
  GStrv aliases;  /* other names, best first */
  char *qdev;     /* QOM path or ID from query-block */
  char *root;     /* node that the guest device is attached to */
  char *node;     /* format node: carries bitmaps; differs from root under a throttle filter */
  char *format;   /* its driver: qcow2, raw, ... */
  char *file;     /* file name as QEMU tells it */
  char *path;     /* the same as an absolute path, when it is a file or a device of this machine; else NULL */
  char *iothread; /* QOM path, or NULL */
  uint64_t size;  /* virtual size */
  bool removable;
  bool empty;     /* no medium */
  bool read_only;
  bool has_backing;
  bool can_persist; /* bitmaps survive the end of QEMU: qcow2 v3, writable */
  char *why_not;    /* why not, in words; NULL else */
  char *untracked; /* why no bitmap can be on it, not even in memory; NULL else */
  char *in_use;     /* our filter or job on it: prefix of the run ("bkd-1a2b3c-42"), or NULL */
  char *blocked;  /* another program's job on it, in words; NULL else. A filter inserted now would kill the VM
                   * when that job ends */
  char *no_access; /* the VM is shut off, and its image cannot be read: why, in words; NULL else */
  char *no_pull;  /* why this disk cannot be pulled though the VM can; NULL else */
  GPtrArray *bitmaps; /* BkBitmap; named ones only */
} BkDisk;

void bk_bitmap_free (BkBitmap *bitmap);
void bk_disk_free (BkDisk *disk);

/* The named bitmap of @disk or NULL. */
const BkBitmap *bk_disk_find_bitmap (const BkDisk *disk, const char *name);

/* The ID that the guest device was given, out of query-block's @qdev ("vda" from
 * "/machine/peripheral/vda/virtio-backend"); NULL when it has none. (transfer full) */
char *bk_disk_qdev_id (const char *qdev);

/* The QOM path to give to QEMU (qom-set drive) for query-block's @qdev: there a device with an ID is told by the
 * bare ID, which QEMU itself does not find when anything else bears that name, as the bus of an nvme controller
 * does. (transfer full) */
char *bk_disk_qdev_path (const char *qdev);

/* The disk that @name means among @disks (BkDisk): target name or device ID, then whole qdev, then drive ID or
 * node name (QEMU keeps these two apart itself).
 * NOT_FOUND names the disks that there are; INVALID when two match. */
const BkDisk *bk_disk_resolve (GPtrArray *disks, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* True when a backup without --disks takes @disk: writable, not removable, with a medium. */
bool bk_disk_is_default (const BkDisk *disk);
