-- A ledger of schema version 10, by sqlite3's .dump. Never change it: it stands for the files that people have.
BEGIN TRANSACTION;
CREATE TABLE attempts (
	trial_id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	study_id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	resumed_from TEXT, 
	clocks TEXT NOT NULL, 
	saved_clocks TEXT NOT NULL, 
	sequence INTEGER NOT NULL, 
	provenance TEXT NOT NULL, 
	ended_at DOUBLE, 
	reason TEXT NOT NULL, 
	traceback TEXT NOT NULL, 
	PRIMARY KEY (trial_id, number), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "attempts" VALUES('s1.bo.0.0',1,'s1','lost',10.0,NULL,'{"train_s":1.5}','{"train_s":1.5}',3,'{"host":"h"}',20.0,'worker died','');
INSERT INTO "attempts" VALUES('s1.bo.0.0',2,'s1','completed',10.0,'c3','{"train_s":7.0}','{}',0,'{}',30.0,'','');
INSERT INTO "attempts" VALUES('s1.bo.0.1',1,'s1','running',10.0,NULL,'{}','{}',0,'{}',NULL,'','');
CREATE TABLE audit (
	at DOUBLE NOT NULL, 
	who TEXT NOT NULL, 
	verb TEXT NOT NULL, 
	path TEXT NOT NULL, 
	status INTEGER NOT NULL
);
INSERT INTO "audit" VALUES(8.0,'ada','POST','/api/v1/studies',201);
CREATE TABLE cursors (
	name TEXT NOT NULL, 
	event_id INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "cursors" VALUES('mlflow/4c1b/s1',2);
CREATE TABLE events (
	event_id INTEGER NOT NULL, 
	study_id TEXT NOT NULL, 
	trial_id TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	sequence INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	payload TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	count INTEGER NOT NULL, 
	PRIMARY KEY (event_id), 
	UNIQUE (trial_id, attempt, sequence)
);
INSERT INTO "events" VALUES(1,'s1','s1.bo.0.0',1,1,'started',10,'{"host":"h"}',101.0,1);
INSERT INTO "events" VALUES(2,'s1','s1.bo.0.0',1,2,'train',20,'{"values":{"loss":{"$float":"NaN"}},"clocks":{"train_s":1.0}}',102.0,1);
INSERT INTO "events" VALUES(3,'s1','s1.bo.0.0',1,3,'checkpoint',30,'{"path":"c3","clocks":{"train_s":1.5}}',103.0,1);
CREATE TABLE hosts (
	name TEXT NOT NULL, 
	address TEXT NOT NULL, 
	has TEXT NOT NULL, 
	places INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	since DOUBLE NOT NULL, 
	reason TEXT NOT NULL, 
	drained_by TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "hosts" VALUES('h','10.0.0.2','{"CPU":2.0}',2,'drained',6.0,'','ada','{}');
CREATE TABLE leader (
	id INTEGER NOT NULL CHECK (id = 1), 
	epoch INTEGER NOT NULL, 
	who TEXT NOT NULL, 
	last_event INTEGER NOT NULL, 
	ledger_id TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "leader" VALUES(1,1,'host 1',7,'');
CREATE TABLE receipts (
	"key" TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	study_id TEXT NOT NULL, 
	answer TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "receipts" VALUES('ada/k1','ab12','s1','{"study":"Gr\u00f6\u00dfe"}');
CREATE TABLE schema_version (
	version INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(10);
CREATE TABLE sessions (
	digest TEXT NOT NULL, 
	token TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "sessions" VALUES('c0ffee','5e88',6.0,300.0);
CREATE TABLE studies (
	study_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	spec_hash TEXT NOT NULL, 
	state TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	reason TEXT NOT NULL, 
	extra_trials TEXT NOT NULL, 
	learns TEXT, 
	waits TEXT NOT NULL, 
	PRIMARY KEY (study_id), 
	UNIQUE (name)
);
INSERT INTO "studies" VALUES('s1','Größe','{"name":"Gr\u00f6\u00dfe","arms":[{"name":"bo"}]}','hash','running',1.0,'','{}','{"bo":["alpha"]}','for a GPU');
INSERT INTO "studies" VALUES('s3','drained','{"name":"drained","arms":[{"name":"bo"}]}','hash3','drained',2.0,'','{}',NULL,'');
CREATE TABLE tokens (
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	role TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE, 
	revoked_at DOUBLE, 
	PRIMARY KEY (name), 
	UNIQUE (digest)
);
INSERT INTO "tokens" VALUES('ada','5e88','admin',4.0,400.0,NULL);
INSERT INTO "tokens" VALUES('bob','6f99','read',4.0,NULL,9.0);
CREATE TABLE trials (
	trial_id TEXT NOT NULL, 
	study_id TEXT NOT NULL, 
	arm TEXT NOT NULL, 
	replicate INTEGER NOT NULL, 
	"index" INTEGER NOT NULL, 
	point TEXT NOT NULL, 
	config TEXT NOT NULL, 
	state TEXT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	attempts INTEGER NOT NULL, 
	losses INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	value DOUBLE, 
	"values" TEXT NOT NULL, 
	checkpoint TEXT, 
	charged TEXT NOT NULL, 
	productive TEXT NOT NULL, 
	ended_at DOUBLE, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (trial_id), 
	UNIQUE (study_id, arm, replicate, "index"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES('s1.bo.0.0','s1','bo',0,0,'{"x":0.1}','{"seed":1}','completed',2.0,2,1,0,0.5,'{"loss":0.5}','last','{"train_s":9.0}','{"train_s":6.0}',30.0,'');
INSERT INTO "trials" VALUES('s1.bo.0.1','s1','bo',0,1,'{"x":0.1}','{"seed":1}','running',2.0,1,0,0,NULL,'{}',NULL,'{}','{}',NULL,'');
INSERT INTO "trials" VALUES('s1.bo.0.2','s1','bo',0,2,'{"x":0.1}','{"seed":1}','waiting',2.0,0,0,0,NULL,'{}',NULL,'{}','{}',NULL,'');
CREATE TABLE wishes (
	wish_id INTEGER NOT NULL, 
	study_id TEXT NOT NULL, 
	verb TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	asked_at DOUBLE NOT NULL, 
	asked_by TEXT NOT NULL, 
	answer TEXT, 
	PRIMARY KEY (wish_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "wishes" VALUES(1,'s1','extend','{"bo":2}',5.0,'ada','');
INSERT INTO "wishes" VALUES(2,'s1','pause','{}',6.0,'ada',NULL);
CREATE INDEX events_of_study ON events (study_id, event_id);
CREATE INDEX events_of_trial ON events (trial_id, event_id);
CREATE INDEX ix_receipts_study_id ON receipts (study_id);
CREATE INDEX ix_audit_at ON audit (at);
CREATE INDEX trials_by_state ON trials (study_id, state, arm, replicate, "index");
CREATE INDEX ix_wishes_study_id ON wishes (study_id);
CREATE INDEX wishes_open ON wishes (wish_id) WHERE answer IS NULL;
CREATE INDEX attempts_live ON attempts (trial_id, number) WHERE state IN ('launching', 'running');
COMMIT;
