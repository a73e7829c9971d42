/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All handlers, by noun; what each answers is in api/openapi.yaml. Main thread only, and none of them blocks.
 */
#pragma once

#include "exchange.h"

/* vm-handlers.c */
void bk_vms_list (BkExchange *exchange);
void bk_vms_add (BkExchange *exchange);
void bk_domains_list (BkExchange *exchange);
void bk_vm_show (BkExchange *exchange);
void bk_vm_remove (BkExchange *exchange);

/* job-handlers.c */
void bk_jobs_list (BkExchange *exchange);
void bk_jobs_submit (BkExchange *exchange);
void bk_job_show (BkExchange *exchange);
void bk_job_cancel (BkExchange *exchange);
void bk_job_pause (BkExchange *exchange);
void bk_job_resume (BkExchange *exchange);
void bk_job_speed (BkExchange *exchange);

typedef struct {
  uint64_t speed;
} BkSpeedRequest;
BK_TYPE (BkSpeedRequest, bk_speed_request)

/* backup-handlers.c */
void bk_backups_list (BkExchange *exchange);
void bk_backup_show (BkExchange *exchange);
void bk_backup_delete (BkExchange *exchange);
void bk_backup_pin (BkExchange *exchange);
void bk_backup_unpin (BkExchange *exchange);
void bk_backup_undelete (BkExchange *exchange);

/* repository-handlers.c */
void bk_repositories_list (BkExchange *exchange);
void bk_repositories_add (BkExchange *exchange);
void bk_repository_show (BkExchange *exchange);
void bk_repository_remove (BkExchange *exchange);

/* checkpoint-handlers.c */
void bk_checkpoints_list (BkExchange *exchange);
void bk_checkpoints_create (BkExchange *exchange);
void bk_checkpoint_delete (BkExchange *exchange);

/* export-handlers.c */
void bk_exports_list (BkExchange *exchange);
void bk_exports_begin (BkExchange *exchange);
void bk_export_show (BkExchange *exchange);
void bk_export_end (BkExchange *exchange);

/* serve-handlers.c */
void bk_serves_list (BkExchange *exchange);
void bk_serves_start (BkExchange *exchange);
void bk_serve_show (BkExchange *exchange);
void bk_serve_stop (BkExchange *exchange);

/* event-stream.c */
void bk_events_stream (BkExchange *exchange);

/* system-handlers.c */
void bk_health_show (BkExchange *exchange);
void bk_doctor_show (BkExchange *exchange);
void bk_openapi_show (BkExchange *exchange);

typedef struct {
  char *status;  /* ok */
  char *version; /* of the daemon */
  char *api;     /* v1 */
} BkHealth;
BK_TYPE (BkHealth, bk_health)
