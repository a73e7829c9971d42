/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What we ask of libvirt, one function for each. They block, no longer than CALLS_TIMEOUT_MS, and are for worker
 * threads. Domains are told by their UUID. All fail with UNREACHABLE and CANCELLED, NOT_FOUND when there is no such
 * domain, DENIED, and CONFLICT while something else keeps the domain busy; else FAILED with libvirt's words.
 */
#pragma once

#include "libvirt-link.h"
#include "libvirt-xml.h"

/* --- domains --- */

typedef struct {
  char *name, *uuid;
  char *state;     /* running, paused, shut off, ... */
  bool active;
  bool persistent;
} BkLibvirtDomain;
void bk_libvirt_domain_free (BkLibvirtDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtDomain, bk_libvirt_domain_free)

/* All of them, by name; (transfer full). */
GPtrArray *bk_libvirt_list_domains (BkLibvirtLink *link, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* All that is to be known of one. */
typedef struct {
  BkLibvirtDomain domain;
  BkLibvirtDomainXml *xml;   /* with the sizes of disks, while it is active */
  GPtrArray *checkpoints;    /* BkLibvirtCheckpointXml, oldest first */
  BkLibvirtBackupXml *backup; /* the backup job that runs, or NULL */
  char *job;                 /* what other job runs, in words, or NULL */
} BkLibvirtLook;
void bk_libvirt_look_free (BkLibvirtLook *look);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtLook, bk_libvirt_look_free)
BkLibvirtLook *bk_libvirt_look (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Its state only. */
BkLibvirtDomain *bk_libvirt_get_domain (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Its persistent definition, with secrets. (transfer full) */
char *bk_libvirt_get_definition (BkLibvirtLink *link, const char *uuid, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Defines a domain; CONFLICT when there is one of that name or UUID. Returns its UUID. (transfer full) */
char *bk_libvirt_define (BkLibvirtLink *link, const char *name, const char *xml, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- backup jobs --- */

/* This is the point in time. @checkpoint may be NULL. @reuse: files of targets are there already. */
gboolean bk_libvirt_backup_begin (BkLibvirtLink *link, const char *uuid, const char *backup, const char *checkpoint, bool reuse, GCancellable *cancellable,
                                  GError **error) G_GNUC_WARN_UNUSED_RESULT;

typedef struct {
  BkLibvirtBackupXml *backup; /* that runs, or NULL */
  GHashTable *progress;       /* mode push: disk to BkLibvirtProgress */
  bool active;                /* so is the domain */
  bool busy;                  /* it has a job of some kind, also one that is just ending */
  /* when none runs: the last one that ended */
  bool ended_well;
  char *failure;              /* libvirt's words; NULL = it knows of none */
} BkLibvirtJob;
typedef struct {
  uint64_t done, total;
} BkLibvirtProgress;
void bk_libvirt_job_free (BkLibvirtJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (BkLibvirtJob, bk_libvirt_job_free)
BkLibvirtJob *bk_libvirt_get_job (BkLibvirtLink *link, const char *uuid, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* Ends the job of the domain, whose ever it is. */
gboolean bk_libvirt_abort_job (BkLibvirtLink *link, const char *uuid, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Bytes per second of a push; 0 = no limit. One that has just ended is no error. */
gboolean bk_libvirt_set_speed (BkLibvirtLink *link, const char *uuid, const char *disk, uint64_t speed, GError **error) G_GNUC_WARN_UNUSED_RESULT;

/* --- checkpoints --- */

gboolean bk_libvirt_checkpoint_create (BkLibvirtLink *link, const char *uuid, const char *xml, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* Makes libvirt know it again, when its bitmaps are there and sound. */
gboolean bk_libvirt_checkpoint_redefine (BkLibvirtLink *link, const char *uuid, const char *xml, GCancellable *cancellable, GError **error) G_GNUC_WARN_UNUSED_RESULT;
/* With its bitmaps. NOT_FOUND. */
gboolean bk_libvirt_checkpoint_delete (BkLibvirtLink *link, const char *uuid, const char *name, GError **error) G_GNUC_WARN_UNUSED_RESULT;
