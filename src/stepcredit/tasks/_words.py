"""Common English words for word sorting, many sharing their first letters so that sorting has to look deeper."""

WORDS = tuple(  # a block reads better than 800 literals
    """
    able about above absent absorb abstract academy accent accept access account accuse achieve acorn acquire across action active actor
    adapt address adjust admire admit adopt advance advice affair afford agent agree album alert alien alive almond alone amber amount anchor
    ancient angle animal ankle answer apple april apron arch arena argue arrive arrow artist aspect assume athlete attach attend aunt autumn
    average award bacon badge balance balloon bamboo banana banner barrel basic basket battle beach beacon beauty become bedroom before begin
    behave belong bench benefit berry beyond bicycle biology birch birthday bishop bitter blanket blossom border borrow bottle bottom boulder
    branch bread breakfast breeze bridge bright broken bronze brother brush bubble bucket budget buffalo build bundle burden butter button cabin
    cable cactus camera campus canal cancel candle candy canoe canvas canyon capable capital captain carbon cargo carpet carrot castle casual
    catalog cattle caution cement census center century cereal certain chair chalk champion change chapter charge cheese cherry chicken child
    chimney choice circle citizen clarify classic clever client climate cloth coast coffee collar collect college column combine comfort comic
    common compact company compare compete complete compose concept concert confirm connect consider contact contain contest continue control
    convert cookie copper coral corner correct cotton country couple courage cousin create credit cricket critic crystal culture curious current
    curtain custom daily damage dancer danger decade decide declare decline define degree delay deliver demand depend deposit desert design
    detail develop device diagram diamond differ digital dinner direct discover discuss display distance divide doctor dolphin donkey double
    dragon drawer dream driver during eager early earth editor effort eight either elbow elder elect elegant element elephant embrace emerge
    empire employ empty enable energy engine enjoy enough ensure entire equal escape essay estate evening evidence exact example exchange excite
    exercise exist expand expect expert explain export extend fabric factor fairly falcon family famous farmer fashion father feature federal
    fence fiction field figure filter final finger finish fiscal flavor flight floor flower follow forest forget formal fortune fossil frame
    freedom friend frozen future galaxy garden garlic gather general gentle ginger glance global golden govern grape gravity guitar habit hammer
    handle harbor harvest hazard health helmet hidden history hollow honest hotel humble hunter imagine impact improve include income indicate
    industry inform injury inner inquiry insect inside inspire install instead intend invite island jacket jewel journey judge jungle junior
    kettle kidney kingdom kitchen ladder language large lately laundry lawyer leader league leather lecture legend lemon lesson letter library
    limit linen liquid listen little lizard lobster local lumber lunar machine magnet maker manage manner marble margin market master matter
    meadow measure medal member memory mention mercury method middle million mineral minute mirror mobile modern moment monkey monster morning
    mother motion mountain museum music napkin nation nature nearby needle nephew network neutral noble normal notice novel number object obtain
    ocean office olive onion open opinion orange orbit orchard order organ origin other outside oxygen oyster package paint palace panel paper
    parade parcel parent partner passage pattern peanut pencil people pepper perfect perform period permit person phrase picnic picture pigeon
    pillow planet plastic player pledge pocket poem police polite popular portion position possible potato powder practice prepare present
    prevent primary prince private problem process produce profit program promise protect proud public purple puzzle quality quarter question
    quick quiet rabbit radio random ranger reason recall recent recipe record reduce reflect reform region relate remain remote repair repeat
    report request rescue resist resource result return review reward ribbon river rocket rough rubber saddle sailor salad salmon sample scale
    school science season second secret section select senior sentence series servant session settle seven shadow shelter shield shoulder signal
    silent silver simple single sister sketch smooth society soldier source special spider spirit spring square stable station steady storm
    story street strong student subject sudden suffer sugar summer supply surface survey switch symbol system tablet talent target teacher
    temple tender theory thirty thread throat ticket timber tissue tomato topic tower traffic travel treat tribe trouble tunnel turkey twelve
    typical umbrella uncle under union unique unity update upper urban useful usual valley value vanish velvet vendor verb vessel victory village
    violin visit vital voice volume voyage walnut wander warning water weather weekend welcome whisper window winter wisdom wonder wooden worker
    yellow yield young zebra
    """.split()  # noqa: SIM905
)
