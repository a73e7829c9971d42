/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The XML of libvirt: all that we read of it, and all that we write. Pure. What is read was written by libvirt, and is
 * distrusted all the same: FAILED when it is no XML, or not what it should be.
 */
#pragma once

#include "run.h"

typedef struct {
  char *target;      /* vda: what --disks takes */
  char *device;      /* disk, cdrom, floppy, lun */
  char *source_type; /* file, block, network, ... */
  char *source;      /* path, or protocol:name; NULL = no medium */
  char *format;
  char *alias;       /* of the device: "virtio-disk0"; NULL while it is off */
  char *index;       /* of the source: its node is "libvirt-INDEX-format"; NULL while it is off */
  char *iothread;
  bool read_only, has_backing;
  uint64_t size;     /* not in the XML: filled in by who asks for it; 0 = not known */
} BkLibvirtDisk;

typedef struct {
  char *name, *uuid;
  char *owner;       /* "+64055:+64055": QEMU's user and group; NULL = not told */
  char *nvram;       /* path, or NULL */
  bool has_tpm;      /* an emulated one */
  GPtrArray *disks;  /* BkLibvirtDisk */
} BkLibvirtDomainXml;
void bk_libvirt_domain_xml_free (BkLibvirtDomainXml *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtDomainXml, bk_libvirt_domain_xml_free)
BkLibvirtDomainXml *bk_libvirt_xml_read_domain (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  char *disk, *bitmap;
  bool sound;     /* its bitmap is there, and can be used */
  uint64_t dirty; /* bytes */
} BkLibvirtCheckpointDisk;

typedef struct {
  char *name;
  int64_t created_at; /* seconds */
  GPtrArray *disks;   /* BkLibvirtCheckpointDisk; with bitmaps only */
} BkLibvirtCheckpointXml;
void bk_libvirt_checkpoint_xml_free (BkLibvirtCheckpointXml *checkpoint);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtCheckpointXml, bk_libvirt_checkpoint_xml_free)
/* @sized: it was asked for with sizes, so that a bitmap without one is not sound. */
BkLibvirtCheckpointXml *bk_libvirt_xml_read_checkpoint (const char *text, bool sized, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* The backup job that runs on a domain. */
typedef struct {
  char *mode;   /* push, pull */
  char *socket; /* of its NBD server, or NULL */
  GHashTable *paths; /* disk to path of its target or scratch ("" = told otherwise) */
} BkLibvirtBackupXml;
void bk_libvirt_backup_xml_free (BkLibvirtBackupXml *backup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtBackupXml, bk_libvirt_backup_xml_free)
BkLibvirtBackupXml *bk_libvirt_xml_read_backup (const char *text, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- written --- */

/* The path of the scratch file of @disk in @folder. (transfer full) */
char *bk_libvirt_xml_scratch (const BkRun *run, const BkRunDisk *disk, const char *folder);

/* A pull: the server is the unix socket @socket, or at run->nbd_listen when that is set; scratch files are in @scratch. All disks of
 * @domain that are not in the run are left out by name. (transfer full) */
char *bk_libvirt_xml_pull (const BkRun *run, const BkLibvirtDomainXml *domain, const char *socket, const char *scratch);
/* A push to the run's targets, files and block devices. (transfer full) */
char *bk_libvirt_xml_push (const BkRun *run, const BkLibvirtDomainXml *domain);
/* The run's checkpoint; NULL when it makes none. (transfer full) */
char *bk_libvirt_xml_checkpoint (const BkRun *run, const BkLibvirtDomainXml *domain);

/* A checkpoint that libvirt has forgotten: @disks (char *) have its bitmap @name. (transfer full) */
char *bk_libvirt_xml_forgotten (const char *name, int64_t created_at, GPtrArray *disks);

/* --- a domain anew --- */

typedef struct {
  const char *name;
  bool keep_identity;     /* UUID and MAC addresses stay */
  GHashTable *disks;      /* target to path; disks that are not in it lose their medium, or go */
  const char *format;     /* of these files */
  const char *nvram;      /* path of the restored NVRAM, or NULL: made anew from its template */
} BkLibvirtRedefinition;
/* The definition of a domain as it was, with new places. (transfer full) */
char *bk_libvirt_xml_redefine (const char *text, const BkLibvirtRedefinition *how, GError **error) G_GNUC_WARN_UNUSED_RESULT;
